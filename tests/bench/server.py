"""A peer's process: opens the peer, then does what it is asked, request by request, on a pipe of its own.

    python -m tests.bench.server serve NAME FOLDER FD    the process that is measured
    python -m tests.bench.server rows NAME FOLDER        how many rows a run left, as a line on stdout

A request is (what, arguments); the answer is ("ok", value) or ("error", traceback). `die` has no answer.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from tests.bench import blocks
from tests.bench.peers import load

if TYPE_CHECKING:
    from tests.bench.peers.base import Log, Peer

WARM_UP_CALLS = 100


def cpu_s() -> float:
    """CPU time that this process has used, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Server:
    """What can be asked of an open peer. Data is prepared in a request of its own, so that its cost is in no figure."""

    def __init__(self, peer: Peer, log: Log) -> None:
        self.peer = peer
        self.log = log
        self.data: list[dict[str, Any]] = []
        self.pixels: Any = None

    def prepare(self, count: int, seed: int, kind: str) -> None:
        self.data = blocks.rows(count, seed, kind)

    def timed(self, period_ns: int, warm_up: int, contended: bool) -> tuple[bytes, float]:
        with blocks.interpreter_contended(contended):
            before_s = cpu_s()
            taken = blocks.timed(self.log, self.data, period_ns, warm_up)
            return taken.tobytes(), cpu_s() - before_s

    def untimed(self) -> int:
        return blocks.untimed(self.log, self.data)

    def steps(self, turns: int, pairs: int) -> list[tuple[int, int]]:
        return blocks.steps(self.log, self.data, turns, pairs)

    def draw(self, height: int, width: int, seed: int) -> None:
        import numpy as np

        self.pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    def image(self) -> int:
        begin = time.perf_counter_ns()
        self.peer.image(self.pixels)
        return time.perf_counter_ns() - begin

    def artifact(self, path: str, name: str) -> int:
        begin = time.perf_counter_ns()
        self.peer.artifact(path, name)
        return time.perf_counter_ns() - begin

    def die(self) -> None:
        for row in self.data:
            self.log(row)
        os.kill(os.getpid(), signal.SIGKILL)

    def close(self) -> str:
        return self.peer.close()


def serve(name: str, folder: str, pipe: Connection) -> None:
    """Answers until `close`, or until the other end is gone."""
    try:
        peer = load(name)()
        log = peer.open(folder)
        for row in blocks.rows(WARM_UP_CALLS, 0):
            log(row)
        server = Server(peer, log)
        pipe.send(("ok", None))
    except Exception:
        pipe.send(("error", traceback.format_exc()))
        return
    what = ""
    while what != "close":
        try:
            what, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(("ok", getattr(server, what)(*arguments)))
        except Exception:
            pipe.send(("error", traceback.format_exc()))


def main() -> None:
    """See the module's head."""
    command, name, folder, *rest = sys.argv[1:]
    if command == "rows":
        print(load(name).rows_in(folder))
    else:
        serve(name, folder, Connection(int(rest[0])))


if __name__ == "__main__":
    main()
