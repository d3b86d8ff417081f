"""A training process for fault tests: logs numbered rows at a rate and keeps its own account of every call.

    python tests/support/trainer.py ACCOUNT ROWS ROWS_PER_S [--ending finish|exit|os_exit|exception] [--run-id ID] …

The account is a mapped file, so it survives SIGKILL: [exceptions u64][nanoseconds u32 of each row's call; 0: not
returned][the same without the time in which the thread was ready to run and others had the cores]. A row whose call
returned must reach W&B. Row number i is {"i": i, "loss": …}. A call in which this very process was stopped and
continued counts as returned after 1 ns: its length is the stop's.
"""

from __future__ import annotations

import argparse
import mmap
import os
import signal
import struct
import sys
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

HEAD = struct.Struct("<Q")
CALL = struct.Struct("<I")


def account_file(path: Path, rows: int) -> mmap.mmap:
    """Make or open the account for so many calls."""
    size = HEAD.size + 2 * CALL.size * rows
    with path.open("a+b") as file:
        file.truncate(size)
        return mmap.mmap(file.fileno(), size)


def read_account(content: bytes) -> tuple[int, array[int], array[int]]:
    """(exceptions, nanoseconds of each row's call, the same without the time that others had the cores)."""
    calls = array("I")
    calls.frombytes(content[HEAD.size :])
    rows = len(calls) // 2
    return HEAD.unpack_from(content)[0], calls[:rows], calls[rows:]


IMAGE_EVERY = 10
"""Rows with an image: that number and its multiples. Its one colour is the row's number modulo 251."""


def _image(number: int) -> dict[str, Any]:
    if number % IMAGE_EVERY:
        return {}
    import numpy as np

    import client

    return {"image": client.Image(np.full((64, 64, 3), number % 251, dtype=np.uint8))}


EXTRA: dict[str, Callable[[int], dict[str, Any]]] = {
    "image": _image,
    "padding": lambda number: {"padding": "x" * 1000},
}
"""What rows may have besides numbers, chosen with `--with NAME`: values for a row by its number, {} where it has none.

Another kind of value, such as media, is an entry here and, where W&B has it elsewhere than in the row, a check in
tests/chaos/random_schedule.py.
"""


class ReadyTime:
    """How long the calling thread was ready to run and waited for a core: the machine's doing, not the call's.

    From the kernel's schedstat of the main thread; where there is none, or for other threads, always 0.
    """

    def __init__(self, *, of_main_thread: bool) -> None:
        path = Path(f"/proc/self/task/{os.getpid()}/schedstat")
        self._descriptor = os.open(path, os.O_RDONLY) if of_main_thread and path.exists() else None

    def ns(self) -> int:
        """Nanoseconds since the thread began."""
        return 0 if self._descriptor is None else int(os.pread(self._descriptor, 100, 0).split()[1])


class Trainer:
    """Logs rows and writes the account."""

    def __init__(self, run: Any, account: mmap.mmap, arguments: argparse.Namespace) -> None:
        self._run = run
        self._account = account
        self._padding = {"padding": "x" * arguments.padding} if arguments.padding else {}
        self._extra = [EXTRA[name] for name in arguments.extra]
        self._period_s = 1 / arguments.rows_per_s if arguments.rows_per_s else 0.0
        self._begun_s = time.monotonic()
        self._ready = ReadyTime(of_main_thread=not arguments.threads)
        self._rows = arguments.rows
        self._continued = False
        signal.signal(signal.SIGCONT, self._on_continue)

    def _on_continue(self, signum: int, frame: FrameType | None) -> None:
        self._continued = True

    def log(self, number: int) -> None:
        """One row, when it is due."""
        due_s = self._begun_s + number * self._period_s
        while self._period_s and (left_s := due_s - time.monotonic()) > 0:
            time.sleep(left_s)
        row = {"i": number, "loss": 1 / (number + 1), "acc": 0.5, "text": "x", **self._padding}
        for values in self._extra:
            row.update(values(number))
        self._continued = False
        ready_ns = self._ready.ns()
        started_ns = time.perf_counter_ns()
        try:
            self._run.log(row)
        except Exception as error:
            HEAD.pack_into(self._account, 0, HEAD.unpack_from(self._account)[0] + 1)
            print(f"log raised {error!r}", file=sys.stderr, flush=True)
        took_ns = time.perf_counter_ns() - started_ns
        own_ns = took_ns - (self._ready.ns() - ready_ns)
        for place, value_ns in ((self._rows + number, own_ns), (number, took_ns)):
            value_ns = 1 if self._continued else max(1, min(value_ns, 0xFFFFFFFF))
            CALL.pack_into(self._account, HEAD.size + CALL.size * place, value_ns)

    def log_from_threads(self, rows: int, threads: int) -> None:
        """All rows, thread t those with number % threads == t."""

        def log_mine(first: int) -> None:
            for number in range(first, rows, threads):
                self.log(number)

        started = [threading.Thread(target=log_mine, args=(first,)) for first in range(threads)]
        self._begun_s = time.monotonic() + threads / 1000  # about what it takes to start them
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()


def fork_two_children(run: Any) -> None:
    """Children that log: one leaves without a word, the other as an interpreter does."""
    for leave in (os._exit, sys.exit):
        if os.fork() == 0:
            run.log({"i": -1})
            leave(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("account", type=Path)
    parser.add_argument("rows", type=int)
    parser.add_argument("rows_per_s", type=float)
    parser.add_argument("--ending", default="finish", choices=["finish", "exit", "os_exit", "exception"])
    parser.add_argument("--run-id", default="chaos")
    parser.add_argument("--finish-timeout-s", type=float, default=10.0)
    parser.add_argument("--padding", type=int, default=0, help="characters added to each row")
    parser.add_argument("--with", dest="extra", action="append", default=[], choices=EXTRA, help="more values in rows")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--fork-at", type=int, default=-1, help="row number before which two children are forked")
    arguments = parser.parse_args()

    import client

    account = account_file(arguments.account, arguments.rows)
    run = client.init(project="chaos", id=arguments.run_id, config={"rows": arguments.rows})
    print("logging", flush=True)
    trainer = Trainer(run, account, arguments)
    if arguments.threads:
        trainer.log_from_threads(arguments.rows, arguments.threads)
    else:
        for number in range(arguments.rows):
            if number == arguments.fork_at:
                fork_two_children(run)
            trainer.log(number)
    print("logged", flush=True)
    if arguments.ending == "finish":
        print(run.finish(timeout_s=arguments.finish_timeout_s), flush=True)
    elif arguments.ending == "os_exit":
        os._exit(0)
    elif arguments.ending == "exception":
        raise RuntimeError("training broke")
    if arguments.fork_at >= 0:
        for _ in range(2):
            os.wait()


if __name__ == "__main__":
    main()
