"""The measuring side of a peer's process: starts it, asks it, watches what it costs, ends it."""

from __future__ import annotations

import os
import socket
import subprocess
from array import array
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.bench.cpu import Tree
from tests.bench.environments import ROOT
from tests.bench.peers import load
from tests.support.processes import kill_tree

ANSWER_DEADLINE_S = 400.0
MARK = "TELEMETRYD_BENCH_PEER"
"""In the environment of a peer and of all that it starts: finds what outlives it."""


class PeerError(Exception):
    """A peer that failed; the message has its own words."""


class Runner:
    """One peer's process. `beside` are processes that work for it and that it did not start: telemetryd's daemon."""

    def __init__(self, name: str, python: str, folder: Path, beside: tuple[int, ...] = ()) -> None:
        self.name = name
        self.peer = load(name)
        self.folder = folder
        self.last_word = ""
        folder.mkdir(parents=True)
        self.mark = f"{MARK}={name} {folder}"
        ours, theirs = socket.socketpair()
        with theirs, (folder / "peer.out").open("wb") as out:
            self.process = subprocess.Popen(
                [python, "-m", "tests.bench.server", "serve", name, str(folder), str(theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, pass_fds=(theirs.fileno(),),
                env={**os.environ, **dict([self.mark.split("=", 1)]), "PYTHONPATH": str(ROOT)}, cwd=folder,
                start_new_session=True,
            )  # fmt: skip
        self._pipe = Connection(ours.detach())
        self.tree = Tree(self.process.pid, *beside)

    def wait_ready(self) -> None:
        """Returns when the peer is open and warm. Raises PeerError."""
        self.answer()

    def ask(self, what: str, *arguments: Any) -> Any:
        """The answer to a request; see server.py. Raises PeerError."""
        self.send(what, *arguments)
        return self.answer()

    def send(self, what: str, *arguments: Any) -> None:
        """A request whose answer is taken later, or that has none."""
        self._pipe.send((what, arguments))

    def answer(self) -> Any:
        """What the last request comes to. Raises PeerError."""
        if not self._pipe.poll(ANSWER_DEADLINE_S):
            raise PeerError(f"no answer within {ANSWER_DEADLINE_S:g} s")
        try:
            how, answer = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            raise PeerError(f"ended early: {self._told()}") from None
        if how == "error":
            raise PeerError(answer.strip().splitlines()[-1])
        return answer

    def calls(
        self, count: int, seed: int, kind: str = "floats", period_ns: int = 0, warm_up: int = 0, contended: bool = False
    ) -> tuple[array[int], float]:
        """Nanoseconds of each call of a block, and the seconds of CPU that the process used per call meanwhile."""
        self.ask("prepare", count + warm_up, seed, kind)
        taken, cpu_s = self.ask("timed", period_ns, warm_up, contended)
        found = array("q")
        found.frombytes(taken)
        return found, cpu_s / (count + warm_up)

    def finish(self) -> None:
        """Closes the peer and waits for its process."""
        self.last_word = self.ask("close")
        self.process.wait(ANSWER_DEADLINE_S)

    def kill(self) -> None:
        """Ends the process and all that it started, whatever state they are in."""
        kill_tree(self.process.pid)
        self.process.wait(10)
        self._pipe.close()

    def _told(self) -> str:
        lines = (self.folder / "peer.out").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit {self.process.poll()}"
