"""pytest fixtures: `standin` in this process, `standin_process` in one of its own.

    from tests.standin.fixture import standin  # noqa: F401

A test that uses `standin` fails at its end when somebody asked the server something it does not know.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import limits
from .client import Standin
from .server import Server

_ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def running(
    state_dir: Path | None = None, *, forgets: bool = False, tls: ssl.SSLContext | None = None
) -> Iterator[Standin]:
    """A stand-in in this process, for the block; `forgets` and `tls` are Server's."""
    server = Server(state_dir=state_dir, forgets=forgets, tls=tls).start()
    try:
        yield Standin(server.url, server.control_url)
    finally:
        server.stop()


class StandinProcess(Standin):
    """A stand-in in a process of its own; it can be killed and started again on the same ports and state."""

    def __init__(self, state_dir: Path):
        super().__init__("", "")
        self.state_dir = state_dir
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> StandinProcess:
        """Start it and wait until it listens. Raises RuntimeError when it does not."""
        ports = [url.rsplit(":", 1)[-1] or "0" for url in (self.url, self.control_url)]
        command = [sys.executable, "-m", "tests.standin", "--port", ports[0], "--control-port", ports[1],
                   "--state-dir", str(self.state_dir), "--print-url"]  # fmt: skip
        self.process = subprocess.Popen(
            command, cwd=_ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(_ROOT)}
        )
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            ready = selector.select(limits.START_TIMEOUT_S)
        line = self.process.stdout.readline().decode() if ready else ""
        if not line:
            self.kill()
            raise RuntimeError("the stand-in did not start; its stderr says why")
        self.url, self.control_url = line.split()
        return self

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it and wait for its end; start() brings it back."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(limits.START_TIMEOUT_S)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None


@pytest.fixture
def standin() -> Iterator[Standin]:
    """A stand-in in this process; nothing may ask it what it does not know."""
    with running() as server:
        yield server
        unknown = server.unknown_operations()
    assert not unknown, f"the stand-in was asked what it does not know: {unknown}"


@pytest.fixture
def standin_process(tmp_path: Path) -> Iterator[StandinProcess]:
    """A stand-in in a process of its own, with its state under tmp_path."""
    server = StandinProcess(tmp_path / "standin").start()
    yield server
    server.kill(signal.SIGTERM)


__all__ = ["StandinProcess", "running", "standin", "standin_process"]
