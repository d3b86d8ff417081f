"""A row that is not finished: `log` calls of one step, merged as wandb merges them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from client.protocol import records
from client.protocol.records import Row

TIMESTAMP_KEY = "_timestamp"


def merge(into: dict[str, Any], data: dict[str, Any]) -> None:
    """Add one call's values to a row in place, as wandb does for calls of equal step."""
    for key, value in data.items():
        present = into.get(key)
        if not isinstance(value, dict):
            into[key] = value
        elif not isinstance(present, dict):
            if _has_leaf(value):
                into[key] = value
        else:
            merge(present, value)


def _has_leaf(value: dict[str, Any]) -> bool:
    return any(_has_leaf(item) if isinstance(item, dict) else True for item in value.values())


@dataclass(slots=True)
class Pending:
    """A row that is open or held. `bodies` are its calls as they came, so that a snapshot holds exactly them."""

    session: str
    step: int
    explicit: bool
    time_ns: int
    data: dict[str, Any]
    bodies: list[bytes]
    size_bytes: int

    @classmethod
    def of(cls, session: str, row: Row, body: bytes | memoryview) -> Pending:
        """A row with its first call."""
        return cls(session, row.step, row.explicit, row.time_ns, row.data, [bytes(body)], len(body))

    def absorb(self, data: dict[str, Any], time_ns: int, bodies: list[bytes], size_bytes: int) -> None:
        """Take the values of further calls of the same step."""
        if TIMESTAMP_KEY in self.data and TIMESTAMP_KEY not in data:
            del self.data[TIMESTAMP_KEY]  # wandb stamps every call, and the newest stamp stays
        merge(self.data, data)
        self.time_ns = time_ns
        self.bodies += bodies
        self.size_bytes += size_bytes


def rebuild(session: str, bodies: list[bytes]) -> Pending:
    """The pending row of a snapshot, from its calls as they came. Raises ValueError where they are none."""
    pending: Pending | None = None
    for body in bodies:
        row = records.decode(body)
        if not isinstance(row, Row):
            raise ValueError("a row snapshot holds a record that is no row")  # noqa: TRY004 - the bytes are wrong
        if pending is None:
            pending = Pending.of(session, row, body)
        else:
            pending.absorb(row.data, row.time_ns, [body], len(body))
    if pending is None:
        raise ValueError("a row snapshot holds a held row without a call")
    return pending
