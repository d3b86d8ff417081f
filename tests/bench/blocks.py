"""The loops that are timed, in the peer's process. Nothing but the call stands between two looks at the clock."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from array import array
from collections.abc import Iterator
from typing import Any

FLOATS = 10
STEP_PAUSE_S = 0.06
"""Between steps that log and steps that do not: longer than a sender's turn, so that neither pays for the other."""

Row = dict[str, Any]


def rows(count: int, seed: int, kind: str = "floats") -> list[Row]:
    """Rows that are all different, made before the clock runs. `kind`:

    floats, numpy, torch: ten values, as Python floats or float32 scalars; keys:N: N floats; text:N: a str of N bytes.
    """
    draw = random.Random(seed).random
    name, _, size = kind.partition(":")
    if name == "text":
        return [{"text": f"{draw():.10f}".ljust(int(size), ".")[: int(size)]} for _ in range(count)]
    make: Any = float
    if name == "numpy":
        from numpy import float32 as make
    elif name == "torch":
        from torch import tensor as make
    keys = [f"train/metric_{number}" for number in range(int(size or FLOATS))]
    return [{key: make(draw()) for key in keys} for _ in range(count)]


def timed(log: Any, data: list[Row], period_ns: int = 0, warm_up: int = 0) -> array[int]:
    """Nanoseconds of each call but the first `warm_up`; a call every `period_ns`, 0: back to back."""
    out = array("q", bytes(8 * len(data)))
    clock, sleep = time.perf_counter_ns, time.sleep
    due = clock()
    for index, row in enumerate(data):
        if period_ns:
            due += period_ns
            if (wait := due - clock()) > 0:
                sleep(wait / 1e9)
        begin = clock()
        log(row)
        out[index] = clock() - begin
    return out[warm_up:]


def untimed(log: Any, data: list[Row]) -> int:
    """Nanoseconds of all calls together, the loop included."""
    begin = time.perf_counter_ns()
    for row in data:
        log(row)
    return time.perf_counter_ns() - begin


def work(turns: int) -> int:
    """Computes in Python for a while: a training step that never gives up the interpreter by itself."""
    total = 0
    for number in range(turns):
        total += number & 3
    return total


def turns_of(step_s: float) -> int:
    """How many turns of `work` take so long on this machine, at its fastest."""
    turns, best_ns = 10_000, 1 << 62
    for _ in range(50):
        begin = time.perf_counter_ns()
        work(turns)
        best_ns = min(best_ns, time.perf_counter_ns() - begin)
    return max(1, round(turns * step_s * 1e9 / best_ns))


def steps(log: Any, data: list[Row], turns: int, pairs: int) -> list[tuple[int, int]]:
    """(bare, logging) for each pair: nanoseconds of as many steps without logging, and with one call of `log` each.

    The two of a pair stand close together, and which comes first changes: what slows the machine slows both.
    """

    def bare(part: list[Row]) -> int:
        begin = time.perf_counter_ns()
        for _ in part:
            work(turns)
        return time.perf_counter_ns() - begin

    def logging(part: list[Row]) -> int:
        begin = time.perf_counter_ns()
        for row in part:
            work(turns)
            log(row)
        return time.perf_counter_ns() - begin

    size = len(data) // pairs
    found = []
    for number in range(pairs):
        part = data[number * size : (number + 1) * size]
        taken = {}
        for call in (bare, logging) if number % 2 else (logging, bare):
            time.sleep(STEP_PAUSE_S)
            taken[call] = call(part)
        found.append((taken[bare], taken[logging]))
    return found


@contextlib.contextmanager
def interpreter_contended(contended: bool) -> Iterator[None]:
    """A second thread that computes in Python and never sleeps, within the block."""
    if not contended:
        yield
        return
    ended = threading.Event()

    def hog() -> None:
        while not ended.is_set():
            work(1000)

    thread = threading.Thread(target=hog, name="bench hog")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
