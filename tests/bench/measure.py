"""Measures single calls: each peer in its own process, one block of calls at a time, the peers taking turns.

Turns matter on a shared machine: whatever slows it for a while slows every peer alike. Between turns the machine is
given time to come to rest, so that no peer is measured while another's daemon or service still works off its backlog.
"""

from __future__ import annotations

import multiprocessing
import random
import resource
import time
from array import array
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.bench.peers import PEERS

FLOATS = 10
WARM_UP_CALLS = 200
QUIET_SHARE = 0.2
QUIET_SAMPLE_S = 0.1
QUIET_DEADLINE_S = 5.0
ANSWER_DEADLINE_S = 400.0


@dataclass
class Samples:
    """Nanoseconds of every call of one peer in one scenario, and the CPU time its process spent meanwhile."""

    calls_ns: array[int] = field(default_factory=lambda: array("q"))
    cpu_s: float = 0.0


def rows(count: int, seed: int) -> list[dict[str, float]]:
    """Rows of ten floats, all different, made before the clock runs."""
    draw = random.Random(seed).random
    keys = [f"train/metric_{number}" for number in range(FLOATS)]
    return [{key: draw() for key in keys} for _ in range(count)]


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _block(log: Any, count: int, period_ns: int, seed: int) -> tuple[bytes, float]:
    """Times `count` calls, one every `period_ns` (0: back to back)."""
    data = rows(count, seed)
    out = array("q", bytes(8 * count))
    clock = time.perf_counter_ns
    sleep = time.sleep
    cpu = _cpu_s()
    due = clock()
    for index, row in enumerate(data):
        if period_ns:
            due += period_ns
            if (wait := due - clock()) > 0:
                sleep(wait / 1e9)
        begin = clock()
        log(row)
        out[index] = clock() - begin
    return out.tobytes(), _cpu_s() - cpu


def _serve(name: str, folder: str, pipe: Connection) -> None:
    """A peer's process: opens the peer, measures a block for each request, closes at the end."""
    peer = PEERS[name]()
    log = peer.open(Path(folder))
    for row in rows(WARM_UP_CALLS, 0):
        log(row)
    pipe.send("ready")
    while (request := pipe.recv()) is not None:
        pipe.send(_block(log, *request))
    pipe.send(peer.close())


class Runner:
    """One peer's process and what it measured so far, by scenario."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.title = PEERS[name]().title
        self.samples: dict[str, Samples] = {}
        self.last_word = ""
        folder.mkdir(parents=True)
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(name, str(folder), theirs), name=f"peer {name}")
        self._process.start()
        theirs.close()
        self._answer()

    def _answer(self) -> Any:
        if not self._pipe.poll(ANSWER_DEADLINE_S):
            raise TimeoutError(f"peer {self.name} did not answer within {ANSWER_DEADLINE_S:g} s")
        try:
            return self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"peer {self.name} ended early; its error stands above") from None

    def block(self, scenario: str, count: int, period_ns: int, seed: int) -> None:
        """Measures one block and adds it to the scenario's samples."""
        self._pipe.send((count, period_ns, seed))
        taken, cpu_s = self._answer()
        samples = self.samples.setdefault(scenario, Samples())
        samples.calls_ns.frombytes(taken)
        samples.cpu_s += cpu_s

    def finish(self) -> None:
        """Closes the peer and waits for its process."""
        self._pipe.send(None)
        self.last_word = self._answer()
        self._process.join(ANSWER_DEADLINE_S)

    def kill(self) -> None:
        """Ends the process, whatever state it is in."""
        self._process.kill()
        self._process.join(10)
        self._pipe.close()


def _busy_and_total() -> tuple[int, int]:
    fields = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


def come_to_rest() -> None:
    """Returns once the machine is nearly idle, or after QUIET_DEADLINE_S on a machine that never is."""
    end = time.monotonic() + QUIET_DEADLINE_S
    while time.monotonic() < end:
        busy, total = _busy_and_total()
        time.sleep(QUIET_SAMPLE_S)
        busy_after, total_after = _busy_and_total()
        if busy_after - busy < QUIET_SHARE * max(1, total_after - total):
            return


def interleaved(runners: list[Runner], scenario: str, rounds: int, calls: int, period_ns: int) -> None:
    """`rounds` blocks of `calls` for each peer, the peers taking turns; who begins changes with every round."""
    for number in range(rounds):
        first = number % len(runners)
        for runner in runners[first:] + runners[:first]:
            come_to_rest()
            runner.block(scenario, calls, period_ns, seed=number + 1)
