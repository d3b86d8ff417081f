"""The parts of the hot path that are compiled where that could be built, else in Python, with the same names.

    Counter   of steps.Steps                    next
    Tail      of journal.writer.JournalWriter   busy, word, before, size, enter(memory), leave(), put(body)
    PlainLog  of history.History                plain, slots, steps; compiled, log(data, step=None, commit=None)
    copy(to, source): bytes of media values on their way out, compiled past the processor's caches
    Scalars   around values.hook, compiled only: torch scalars read from memory (_scalars.c); None elsewhere
    Rows      around values.encode_plainly, likewise: a row of such scalars encoded by itself

The compiled `log` (_fastlog.c) does the plain case by itself and calls `log_any` for every other; without it History's
`log` is `log_any`. Both write the same bytes. TELEMETRYD_PURE_PYTHON=1, when the client is imported, takes those in
Python.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

PURE_VARIABLE = "TELEMETRYD_PURE_PYTHON"


class _Counter:
    """What numbers the rows."""

    __slots__ = ("next",)

    next: int


class _Tail:
    """Where the next record goes; the subclass keeps the fields."""

    busy: bool
    word: int
    before: int
    size: int

    def enter(self, memory: Any) -> None:
        """Nothing to hold: Python's stores go through the segment's own mapping."""

    def leave(self) -> None:
        """Nothing is held."""

    def put(self, body: bytes) -> bool:
        """Commit a record, where that needs nothing else; whether it is. `append` does it here."""
        return False


class _PlainLog:
    """The state that a plain `log` call looks at."""

    __slots__ = ("plain", "slots", "steps")

    def __init__(self, steps: Any, tail: Any, encode: Any, rich: Any) -> None:
        self.plain = True
        self.slots: dict[Any, Any] = {}
        self.steps = steps


def _copy(to: memoryview, source: Any, /) -> None:
    """The bytes of a buffer that lies in one piece, into another one of their size."""
    to[:] = memoryview(source).cast("B")


COMPILED = False
if TYPE_CHECKING:
    from client._fastlog import Counter as Counter
    from client._fastlog import PlainLog as PlainLog
    from client._fastlog import Tail as Tail
    from client._fastlog import copy as copy

    Scalars: Any
    Rows: Any
else:
    Counter, PlainLog, Tail, Scalars, Rows, copy = _Counter, _PlainLog, _Tail, None, None, _copy
    if os.environ.get(PURE_VARIABLE, "") in ("", "0"):
        try:
            from client import _fastlog, _scalars

            Counter, PlainLog, Tail, copy, Scalars, Rows = (
                _fastlog.Counter, _fastlog.PlainLog, _fastlog.Tail, _fastlog.copy, _scalars.Scalars, _scalars.Rows,
            )  # fmt: skip
            COMPILED = True
        except (ImportError, AttributeError):  # no compiler where it was installed, another Python, an older build
            pass
