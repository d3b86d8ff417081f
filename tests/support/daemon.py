"""A real daemon for tests: `python -m telemetryd serve` as a process of its own, ready when it answers a ping."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import zmq

from client import keys
from client.protocol import messages
from tests.support.processes import Spawned, alive, command_line, descendants, python, spawn, wait_until

START_DEADLINE_S = 30.0
"""Two busy cores import wandb's neighbours slowly; a daemon that is not there by then does not come."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(messages.FromDaemon)


class AskError(AssertionError):
    """The daemon answered a question with an error."""


def ask(
    endpoint: str, kind: str, timeout_s: float = 5.0, key_file: Path | None = None, **arguments: Any
) -> dict[str, Any] | None:
    """The daemon's answer to a question, None when none comes in time. Raises AskError when it answers an error."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        if key_file is not None:
            key = keys.read(key_file)
            socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = (
                key.servers[0],
                key.public,
                key.secret,
            )
        socket.connect(endpoint)
        socket.send(_encoder.encode(messages.Ask(id=1, kind=kind, args=arguments)))
        end = time.monotonic() + timeout_s
        while (left_s := end - time.monotonic()) > 0:
            if not socket.poll(left_s * 1000):
                return None
            message = _decoder.decode(socket.recv_multipart()[0])
            if isinstance(message, messages.Answer) and message.id == 1:
                if message.error is not None:
                    raise AskError(message.error)
                return message.result
    return None


class Daemon:
    """A daemon with its own endpoint, state folder and spool. `start` again after `kill` or `stop`: same places."""

    def __init__(self, folder: Path, endpoint: str, state_dir: Path, spool_dir: Path) -> None:
        self.folder = folder
        self.endpoint = endpoint
        self.state_dir = state_dir
        self.spool_dir = spool_dir
        self.key_file: Path | None = None
        """The client's key by which tests ask a daemon that wants one."""
        self.spawned: Spawned | None = None
        self.arguments: list[str] = []
        self.env: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What tells a training process, or a daemon, to use this daemon's places."""
        return {
            "TELEMETRYD_ENDPOINT": self.endpoint,
            "TELEMETRYD_STATE_DIR": str(self.state_dir),
            "TELEMETRYD_SPOOL_DIR": str(self.spool_dir),
        }

    @property
    def pid(self) -> int:
        """The daemon process's number."""
        assert self.spawned is not None, "the daemon has not been started"
        return self.spawned.pid

    def start(self, arguments: Sequence[str] = (), env: Mapping[str, str] | None = None) -> Daemon:
        """Starts the daemon and returns when it answers. `arguments` and `env` are kept for later starts."""
        assert self.spawned is None or not self.spawned.running(), "the daemon runs already"
        self.arguments = list(arguments) or self.arguments
        self.env = dict(env or {}) or self.env
        command = python("-m", "telemetryd", "serve", *self.arguments)
        self.spawned = spawn(command, self.folder, env={**self.environment, **self.env})
        self.wait_ready()
        return self

    def wait_ready(self, deadline_s: float = START_DEADLINE_S) -> dict[str, Any]:
        """What the daemon answers to a ping, once it does. Raises AssertionError with its output if it ends instead."""
        spawned = self.spawned
        assert spawned is not None
        answer: dict[str, Any] | None = None

        def ready() -> bool:
            nonlocal answer
            answer = ask(self.endpoint, "ping", 0.25, self.key_file)
            return answer is not None or not spawned.running()

        wait_until(ready, deadline_s, lambda: f"the daemon's answer\n{spawned.told()}")
        assert answer is not None, f"the daemon ended at its start\n{spawned.told()}"
        return answer

    def ask(self, kind: str, timeout_s: float = 5.0, **arguments: Any) -> dict[str, Any]:
        """The daemon's answer. Raises AssertionError when none comes."""
        answer = ask(self.endpoint, kind, timeout_s, self.key_file, **arguments)
        assert answer is not None, f"no answer to {kind!r} within {timeout_s:g} s\n{self.told()}"
        return answer

    def status(self) -> dict[str, Any]:
        """What `telemetryd status --json` prints."""
        return self.ask("status")

    def wait_status(self, predicate: Any, deadline_s: float = 30.0, what: str = "") -> dict[str, Any]:
        """The first status that satisfies the predicate."""
        last: dict[str, Any] = {}

        def satisfied() -> bool:
            last.clear()
            last.update(self.status())
            return bool(predicate(last))

        wait_until(satisfied, deadline_s, lambda: f"{what or 'the status'}; it is {last}\n{self.told()}", poll_s=0.05)
        return last

    def pause(self) -> None:
        """SIGSTOP to the daemon alone: its workers go on."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to the daemon alone, reaped; what it started is left to notice by itself."""
        os.kill(self.pid, signal.SIGKILL)
        assert self.spawned is not None
        self.spawned.wait(10.0)

    def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM; the exit code."""
        assert self.spawned is not None
        return self.spawned.stop(timeout_s)

    def workers(self) -> set[int]:
        """The daemon's living run workers."""
        marker = "telemetryd.runs.worker_main"
        return {pid for pid in descendants(self.pid) if alive(pid) and marker in command_line(pid)}

    def told(self) -> str:
        """Everything the newest daemon process has written."""
        return self.spawned.told() if self.spawned is not None else "the daemon was never started"

    def end(self) -> None:
        """Kills whatever is left of it."""
        if self.spawned is not None:
            self.spawned.kill()
