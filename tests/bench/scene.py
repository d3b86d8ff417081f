"""The scene of a benchmark: a daemon of its own in a folder of its own, what its processes cost, and its load."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from client.connection import ask
from tests.bench.ranks import cpu_s
from tests.standin.client import Standin
from tests.support.processes import running, wait_until
from tests.support.world import World

NOBODY = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40, "WANDB_MODE": "online"}
"""A W&B that does not answer: the run's worker waits, and rows stay in the inbox."""

SETTLE_DEADLINE_S = 3600.0


@contextlib.contextmanager
def world(standin: Standin | None = None) -> Iterator[World]:
    """A World in a temporary folder that goes with it."""
    with tempfile.TemporaryDirectory(prefix="td-", dir="/tmp") as folder:
        made = World(Path(folder), standin=standin)
        try:
            yield made
        finally:
            made.close()


@contextlib.contextmanager
def standin(folder: Path) -> Iterator[tuple[Standin, int]]:
    """A stand-in for W&B in a process of its own, and its pid."""
    command = [sys.executable, "-m", "tests.standin", "--port", "0", "--print-url", "--state-dir", folder / "standin"]
    with running(command, folder / "standin-log") as process:
        wait_until(lambda: len(process.out().split()) == 2, 30, process.told)
        yield Standin(*process.out().split()), process.pid


def memory(pid: int) -> float:
    """Memory of a process that is its own, in MiB: anonymous pages, in use now."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) / 1024
    return 0.0


def cpu_of(pids: Sequence[int]) -> float:
    """CPU seconds that living processes have used."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += cpu_s(pid)
    return total


class Load:
    """Processes of `tests.bench.load` whose batches are prepared."""

    def __init__(self, scene: World, sessions: int, rows: int, *options: str, processes: int = 1) -> None:
        """`rows` of each session."""
        each = -(-sessions // processes)
        self._processes = []
        for first in range(0, sessions, each):
            command = [sys.executable, "-m", "tests.bench.load", "--endpoint", scene.endpoint, "--first", str(first)]
            command += ["--sessions", str(min(each, sessions - first)), "--rows", str(rows)]
            command += ["--directory", str(scene.runs_dir), *options]
            self._processes.append(
                subprocess.Popen(
                    command,
                    env=os.environ | scene.environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        for process in self._processes:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "ready"

    def go(self) -> None:
        """Begin to send."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()

    def run(self) -> dict[str, Any]:
        """Send everything; seconds from the first message to the last ack, bytes sent, CPU seconds of the senders."""
        self.go()
        return self.wait()

    def wait(self) -> dict[str, Any]:
        """Until everything is acked; as `run`."""
        told = []
        for process in self._processes:
            out, _ = process.communicate(timeout=SETTLE_DEADLINE_S)
            assert process.returncode == 0, out
            told.append(json.loads(out))
        return {
            "took_s": max(one["ended_s"] for one in told) - min(one["begun_s"] for one in told),
            "bytes": sum(one["bytes"] for one in told),
            "cpu_s": sum(one["cpu_s"] for one in told),
        }

    def close(self) -> None:
        """End what still runs."""
        for process in self._processes:
            process.kill()
            process.wait()


def status(scene: World) -> dict[str, Any]:
    """The daemon's status, waited for: a busy daemon answers late."""
    return dict(ask(scene.endpoint, "status", {}, 60))


def wait_drained(scene: World, deadline_s: float = SETTLE_DEADLINE_S, poll_s: float = 0.1) -> dict[str, Any]:
    """Until nothing is pending; the status then."""
    last: dict[str, Any] = {}

    def done() -> bool:
        nonlocal last
        last = status(scene)
        return bool(last["offered"]) and last["pending"] == 0

    wait_until(done, deadline_s, lambda: f"{last}\n{scene.worker_logs()}", poll_s=poll_s)
    return last


def now_s() -> float:
    """The clock of every benchmark here; one for all processes of a machine."""
    return time.monotonic()
