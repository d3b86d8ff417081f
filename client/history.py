"""The hot path: one `log` call becomes one numbered row in the session's stream.

What a call costs: a tuple of its keys, a look-up, the encoding of its values, a lock, the row's tail, and the session's
`append`. Everything else waits in `_log_slowly` or until somebody reads the summary.

The plain case is compiled where that could be built (fastlog.py): it looks at `plain`, `slots` and the journal's tail
under the GIL alone. What looks at more than one of them here sets `plain` to False first.

Invariants
* Steps rise in the order of the stream: numbering and appending happen under one lock, encoding outside it.
* The lock is held across neither I/O nor code of the caller's. A `log` call that interrupts one of its own thread (a
  signal handler, a `__del__`) finds the lock its own and the log busy: it leaves its row in `_deferred`, which the
  interrupted call appends before it returns.
* `slots` holds, for each set of keys logged, the newest row; it is what the summary mirror is made of when read. It is
  empty once the run takes no more rows, so that the common path needs no check for that.
"""

from __future__ import annotations

import operator
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from time import time_ns
from typing import Any, NamedTuple

import msgspec

from client import rich
from client.errors import UsageError
from client.fastlog import COMPILED, PlainLog, Tail
from client.limits import KEY_SETS_KEPT
from client.payload import Payload
from client.protocol.records import Arrived, Await, Record, Row, encode
from client.rich import Place as PlaceBytes
from client.row_body import HEAD, STEP_KEY, TIME_KEY, pack_tail, row_body
from client.steps import Steps
from client.summary_mirror import Slot, SummaryMirror
from client.values import RichValueError, encode_plainly, encode_row_data, is_dataclass

_STEP_MIN, _STEP_MAX = -(1 << 63), (1 << 63) - (1 << 32)  # the steps behind it have numbers of 64 bits as well

Waiting = Callable[[], None]


class Place(NamedTuple):
    """A row that was open at some moment, for values that come later: see records.Await."""

    number: int
    step: int
    explicit: bool
    time_ns: int


class History(PlainLog):
    """See the module's head. Thread-safe."""

    __slots__ = (
        "__weakref__",
        "_append",
        "_awaits",
        "_deferred",
        "_inside",
        "_lock",
        "_off",
        "_place_bytes",
        "_run_id",
        "mirror",
        "rows_after_fork",
    )

    steps: Steps
    slots: dict[tuple[str, ...], Slot]

    def __init__(
        self,
        run_id: str,
        append: Callable[..., bool],
        start_time_ns: int,
        place: PlaceBytes | None = None,
        tail: Tail | None = None,
        rewind_to: int | None = None,
    ) -> None:
        """`rewind_to`: the step that the caller goes back to; the first row has the next."""
        steps = Steps() if rewind_to is None else Steps(rewind_to + 1, given=True)
        super().__init__(steps, tail, encode_plainly, RichValueError)
        self.plain = steps.is_plain
        self.mirror = SummaryMirror(start_time_ns)
        self.rows_after_fork = 0
        self._run_id = run_id
        self._append = append
        self._place_bytes = place or (lambda payload: 0)
        self._lock = threading.RLock()
        self._inside = False
        self._off: str | None = None
        self._deferred: deque[Waiting] = deque()
        self._awaits = 0

    def log_any(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Log a row; see Run.log. `log` is this, or its plain case compiled."""
        if type(data) is not dict:
            data = self._as_dict(data)
        slot = self.slots.get(keys := tuple(data))
        if slot is None:
            slot = self._admit(keys, data)
            if slot is None:
                return
        try:
            encoded = self._encode_rich(data, step, slot) if slot.rich else encode_plainly(data)
        except (OverflowError, UnicodeEncodeError, RecursionError):
            encoded = self.encode(data, step)
        except RichValueError:
            encoded = self._encode_rich(data, step, slot)
        with self._lock:
            if not self.plain or step is not None or commit is not None:
                self._log_slowly(keys, encoded, step, commit)
                return
            self.plain = False
            try:
                number = self.steps.next
                self.steps.next = number + 1
                slot.body = row = HEAD + encoded + pack_tail(STEP_KEY, number, TIME_KEY, time_ns())
                self._append(row)
            finally:
                self.plain = True
            if slot.extra or self._deferred:
                self._finish_call(slot, encoded)

    def log_encoded(self, data: dict[str, Any], encoded: bytes) -> None:
        """What the compiled `log` hands over when the case was no plain one after the encoding."""
        with self._lock:
            self._log_slowly(tuple(data), encoded, None, None)

    log_any.__qualname__ = "History.log"  # what Python's own messages about wrong arguments call it
    if not COMPILED:
        log = log_any

    def encode(self, data: Any, step: Any = None) -> bytes:
        """What the stream holds of values, of media values too. Raises TypeError, ValueError as `log`."""
        try:
            return encode_row_data(data)
        except RichValueError:
            return self._encode_rich(data, step)

    def _encode_rich(self, data: Any, step: Any, slot: Slot | None = None) -> bytes:
        # wandb names media files by its own next step, also when the caller gives another one.
        at = self.steps.next if step is not None else None
        encoded, is_rich = rich.encode_and_tell(data, self._place_bytes, at)
        if slot is not None:
            slot.rich = is_rich
        return encoded

    def encode_payload(self, payload: Payload) -> msgspec.Raw:
        """Bytes as they stand in a record that is emitted next: within it, or journaled here and named by it."""
        return msgspec.Raw(rich.encode(payload, self._place_bytes))

    def emit(self, record: Record, change: Callable[[SummaryMirror], None] | None = None) -> None:
        """Append a record that is no row, behind the rows logged so far; `change` does to the mirror what it says."""
        body = encode(record)

        def place() -> None:
            self._append(body, is_row=False)
            if change is not None:
                self.mirror.fold(self.slots.values(), self.steps.next)
                change(self.mirror)
                for keys, slot in self.slots.items():
                    slot.ruled = self.mirror.has_rule_for(keys)
                    slot.extra = slot.ruled or slot.nested

        with self._lock:
            if self._is_busy():
                self._deferred.append(place)
            else:
                self._run_inside(place)

    def place_now(self, known: Place | None, key: str) -> Place | None:
        """The row that a call with commit=False would go to now: `known`, if it is that one, else a new place. The
        stream has an Await there for the value of `key`. None when the run takes no more."""
        with self._lock:
            if self._off is not None:
                return None
            if self._is_busy():
                raise RuntimeError("a hook ran within a log call of its own thread")
            found: list[Place] = []

            def place() -> None:
                if known is not None and known.step == self.steps.next:
                    self._append(encode(Await(known.number, key)), is_row=False)
                    found.append(known)
                    return
                self._awaits += 1
                step, _, explicit, _ = self.steps.number((), None, False)
                self._append(encode(Await(self._awaits, key)), is_row=False)
                found.append(Place(self._awaits, step, explicit, time_ns()))

            self._run_inside(place)
            return found[0]

    def fill(self, place: Place, values: dict[str, Any]) -> None:
        """Append values that belong to an earlier place."""
        body = encode(Row(place.step, place.time_ns, values, False, place.explicit, place.number))
        with self._lock:
            self.mirror.fill(place.step, values)
            self._append(body)

    def arrived(self, place: Place) -> None:
        """Append that nothing more comes for a place."""
        self.emit(Arrived(place.number))

    def read_summary(self) -> dict[str, Any]:
        """The mirror's tree, brought up to date with every closed row."""
        with self._lock:
            if not self._is_busy():
                self._run_inside(lambda: self.mirror.fold(self.slots.values(), self.steps.next))
            return self.mirror.tree

    def end(self, reason: str) -> None:
        """Take no more rows: `log` raises (finished), or counts them (forked)."""
        with self._lock:
            self._run_deferred()
            self._off = reason
            self.plain = False  # before the summary is read: the compiled log takes no lock
            self.read_summary()
            self.slots = {}

    def orphan(self) -> None:
        """In a forked child: the lock may be held by a thread that is not here, and the stream is the parent's."""
        self._lock = threading.RLock()
        self._deferred = deque()
        self._off = self._off or "forked"
        self.slots = {}
        self.plain = False
        self._inside = False

    def check_open(self, call: str) -> bool:
        """Whether the run takes records; False in a forked child. Raises UsageError when the run is finished."""
        if self._off == "finished":
            raise UsageError(
                f"Run ({self._run_id}) is finished. The call to `{call}` will be ignored."
                " Please make sure that you are using an active run."
            )
        return self._off is None

    def _as_dict(self, data: Any) -> dict[str, Any]:
        self.check_open("log")
        if not isinstance(data, Mapping):
            raise TypeError(
                f"wandb.log must be passed a dictionary, not {type(data).__name__}: write log({{'loss': value}})"
            )
        return dict(data)

    def _admit(self, keys: tuple[Any, ...], data: dict[str, Any]) -> Slot | None:
        """The slot of a set of keys seen for the first time; None in a forked child. Raises TypeError, UsageError."""
        if not self.check_open("log"):
            self._count_after_fork()
            return None
        for key in keys:
            if not isinstance(key, str):
                raise TypeError(
                    f"Key values passed to `wandb.log` must be strings. {key!r} is {type(key).__name__}:"
                    f" use str({key!r})"
                )
        with self._lock:
            if len(self.slots) >= KEY_SETS_KEPT and not self._is_busy():
                self._run_inside(self._begin_slots_anew)
            nested = any(isinstance(value, dict) or is_dataclass(value) for value in data.values())
            return self.slots.setdefault(keys, Slot(self.mirror.has_rule_for(keys), nested))

    def _begin_slots_anew(self) -> None:
        self.mirror.fold(self.slots.values(), self.steps.next)
        # Another thread that holds a slot of the old dict writes a value that the mirror does not see.
        self.slots = {}

    def _count_after_fork(self) -> None:
        self.rows_after_fork += 1
        if self.rows_after_fork == 1:
            print(
                f"telemetryd: process {os.getpid()} was forked from the one that called init(): what it logs to run"
                f" {self._run_id} is not recorded. Log in the parent, or call init() in the child.",
                file=sys.stderr,
                flush=True,
            )

    def _log_slowly(self, keys: tuple[str, ...], encoded: bytes, step: int | None, commit: bool | None) -> None:
        """A call with step or commit, into an open row, or from within another call. Holds the lock."""
        if type(step) is not int or not _STEP_MIN <= step <= _STEP_MAX:
            step = _checked_step(step)
        if commit is not None and type(commit) is not bool:
            commit = _checked_commit(commit)
        if self._is_busy():
            self._deferred.append(lambda: self._place(keys, encoded, step, commit))
            return
        self._inside, self.plain = True, False
        try:
            self._place(keys, encoded, step, commit)
        finally:
            self._inside = False
            self.plain = self._off is None and self.steps.is_plain
        if self._deferred:
            self._run_deferred()

    def _place(self, keys: tuple[str, ...], encoded: bytes, step: int | None, commit: bool | None) -> None:
        number, closes, explicit, late = self.steps.number(keys, step, commit)
        row = row_body(encoded, number, time_ns(), closes, explicit)
        slot = self.slots.get(keys)
        if slot is not None and not late:
            if slot.step != number:  # the row before this one may be closed while this one is still open
                slot.previous, slot.step = slot.body, number
            slot.body = row
            if slot.extra:
                self._mirror_extra(slot, encoded)
        self._append(row)

    def _finish_call(self, slot: Slot, encoded: bytes) -> None:
        if slot.extra and not self._is_busy():
            self._run_inside(lambda: self._mirror_extra(slot, encoded))
        self._run_deferred()

    def _mirror_extra(self, slot: Slot, encoded: bytes) -> None:
        if slot.ruled:
            self.mirror.observe(encoded)
        if slot.nested:
            for body in slot.take():
                self.mirror.add_backlog(body, self.slots.values(), self.steps.next)

    def _is_busy(self) -> bool:
        """Whether this thread, which holds the lock, is within another call already."""
        return self._inside or (not self.plain and self._off is None and self.steps.is_plain)

    def _run_inside(self, action: Waiting) -> None:
        self._inside, self.plain = True, False
        try:
            action()
        finally:
            self._inside = False
            self.plain = self._off is None and self.steps.is_plain
        self._run_deferred()

    def _run_deferred(self) -> None:
        while self._deferred and not self._is_busy():
            self._run_inside(self._deferred.popleft())


def _checked_step(step: Any) -> int | None:
    if step is None:
        return None
    if isinstance(step, bool):
        raise TypeError("log(step=...) must be an integer, not a bool")
    try:
        number = operator.index(step)
    except TypeError:
        raise TypeError(
            f"log(step=...) must be an integer: {type(step).__name__!r} object cannot be interpreted as an integer;"
            " use int(step)"
        ) from None
    if not _STEP_MIN <= number <= _STEP_MAX:
        raise ValueError(f"log(step=...) Value out of range: {number}")
    return number


def _checked_commit(commit: Any) -> bool | None:
    if commit is None or isinstance(commit, bool):
        return commit
    try:
        return bool(operator.index(commit))
    except TypeError:
        raise TypeError(f"log(commit=...) must be True, False or None, not {type(commit).__name__}") from None
