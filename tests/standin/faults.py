"""What goes wrong on purpose.

A fault says *where* ("*", "graphql", "graphql:UpsertBucket", "file_stream", "upload", "upload:run", "upload:artifact",
"download"), *what* (a kind below), how many requests it lets pass first (`skip`), how many it hits (`times`, None
for ever), and optionally of which run. The oldest fault that matches a request and has hits left takes it.

    status         answer `status` with a W&B-like error body; nothing is applied
    graphql_error  200 with {"errors": [{"message"}]} and no data; nothing is applied
    garbage        200 with bytes that are no JSON; nothing is applied
    hang           say nothing until cleared (or `seconds`), then close; applied first when `after` is set
    slow           wait `seconds`, then go on as usual
    drop_before    close the connection with a reset; nothing is applied
    drop_after     apply the request, then close without an answer

Pure but for the lock: it decides, the server acts.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

KINDS = ("status", "graphql_error", "garbage", "hang", "slow", "drop_before", "drop_after")


@dataclass
class Fault:
    """One order. `hits` counts the requests it has taken; `released` is set once it is cleared."""

    id: int
    where: str
    kind: str
    status: int = 500
    message: str = "the stand-in was told to fail"
    seconds: float | None = None
    times: int | None = None
    skip: int = 0
    run: str = ""
    after: bool = False
    retry_after_s: int | None = None
    hits: int = 0
    released: threading.Event = field(default_factory=threading.Event, repr=False)

    def describe(self) -> dict[str, Any]:
        """As plain JSON."""
        return {name: value for name, value in vars(self).items() if name != "released"}


class Faults:
    """The orders in force, oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._given = 0

    def add(self, where: str, kind: str, **options: Any) -> Fault:
        """Give an order. Raises ValueError for an unknown kind, TypeError for an unknown option."""
        if kind not in KINDS:
            raise ValueError(f"unknown fault {kind!r}: choose one of {', '.join(KINDS)}")
        with self._lock:
            self._given += 1
            fault = Fault(self._given, where, kind, **options)
            self._faults.append(fault)
        return fault

    def clear(self, where: str = "", id: int = 0) -> None:
        """Withdraw all orders, those for `where`, or the one; requests they hold are let go."""
        with self._lock:
            gone = [f for f in self._faults if (not where or f.where == where) and (not id or f.id == id)]
            self._faults = [fault for fault in self._faults if fault not in gone]
        for fault in gone:
            fault.released.set()

    def take(self, places: list[str], run: str = "") -> Fault | None:
        """The fault for a request known under `places`, counted; None: all is well."""
        with self._lock:
            for fault in self._faults:
                if fault.where not in places or (fault.run and fault.run not in (run, run.rsplit("/", 1)[-1])):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                if fault.times is None or fault.hits < fault.times:
                    fault.hits += 1
                    return fault
        return None

    def list(self) -> list[dict[str, Any]]:
        """All orders given and not cleared, with their hits."""
        with self._lock:
            return [fault.describe() for fault in self._faults]
