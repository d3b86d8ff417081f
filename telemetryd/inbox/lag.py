"""How far delivery lies behind: the age of the oldest record of a run that is not confirmed in W&B.

Read from the run's oldest batch behind its cursor. The cursor moves in steps, so the lag may be told somewhat longer
than it is, never shorter.
"""

from __future__ import annotations

import msgspec

from client.protocol import records
from client.protocol.framing import HEADER, HEADER_BYTES
from telemetryd.inbox.database import Database

_LOOKED_AT_BYTES = 1 << 18
"""Of a batch: the first row is mostly its first record. Behind more than that of other records it is not looked for."""


class _Timed(msgspec.Struct, rename={"time_ns": "n"}):
    """Of a Row: when it was logged."""

    time_ns: int = 0


def oldest_ns(database: Database, run_id: int) -> int | None:
    """When the run's oldest unconfirmed record was made, in ns since the epoch; None when nothing is unconfirmed or
    the time cannot be told. Raises InboxError."""
    found = database.row(
        "SELECT substr(body, 1, ?) FROM batches WHERE run_id = ? AND rows > 0 AND batch >"
        " (SELECT cursor FROM runs WHERE run_id = ?) ORDER BY batch LIMIT 1",
        (_LOOKED_AT_BYTES, run_id, run_id),
    )
    return None if found is None else first_time_ns(found[0])


def first_time_ns(body: bytes) -> int | None:
    """The time of the first row in a batch, or in the beginning of one."""
    position = 0
    while position + HEADER_BYTES <= len(body):
        length = HEADER.unpack_from(body, position)[0]
        start, position = position + HEADER_BYTES, position + HEADER_BYTES + length
        if length == 0 or position > len(body):
            return None
        if body[start + 1 : start + 5] == records.ROW_PREFIX:
            return _time_of(body[start:position])
    return None


def _time_of(record: bytes) -> int | None:
    try:
        time_ns = msgspec.msgpack.decode(record, type=_Timed).time_ns
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return time_ns or None
