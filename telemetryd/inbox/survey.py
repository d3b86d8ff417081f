"""What a payload of records holds, told in one walk over it. Pure.

Rows are counted by their first bytes; only the few records that are no rows are decoded, to spot those that the daemon
itself acts on (Losses, End, artifacts, output). Checksums of rows are left to the run worker.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from client.protocol import records
from client.protocol.errors import MalformedError, OversizedError
from client.protocol.framing import HEADER, HEADER_BYTES, Buffer, checksum
from client.protocol.limits import RECORD_MAX_BYTES
from telemetryd.limits import LOSS_MAX_ROWS, LOSS_REASON_MAX_CHARS, LOSS_REASONS_MAX


@dataclass(frozen=True)
class Survey:
    """The new part of a payload: where it begins, how many rows it has, and what else the daemon must know."""

    start: int
    rows: int
    losses: dict[str, int]
    end: records.End | None
    artifacts: list[records.Artifact | records.Staged]
    output: list[records.Output] = field(default_factory=list)
    samples: int = 0
    """Values of a node's machine."""
    samples_lost: int = 0
    """Those that the node had no room for."""
    events: list[records.Event] = field(default_factory=list)
    """What a node tells of its machine."""


def survey(payload: Buffer, first: int, last: int, acked: int) -> Survey:
    """Walk records `first` to `last`; those up to `acked` are passed over.

    Raises MalformedError when the lengths do not add up to exactly these records, OversizedError on a record over the
    limit.
    """
    view = memoryview(payload)
    unpack = HEADER.unpack_from
    prefix = records.ROW_PREFIX
    stop = len(view)
    position, sequence, rows = 0, first, 0
    start = samples = samples_lost = 0
    losses: dict[str, int] = {}
    end: records.End | None = None
    artifacts: list[records.Artifact | records.Staged] = []
    output: list[records.Output] = []
    events: list[records.Event] = []
    data = bytes(view) if not isinstance(payload, bytes) else payload  # slices of bytes compare fastest
    while position < stop:
        body = position + HEADER_BYTES
        if body > stop:
            raise MalformedError(f"record header cut at byte {position}")
        length = unpack(data, position)[0]
        after = body + length
        if length > RECORD_MAX_BYTES:
            raise OversizedError(f"record of {length} bytes at byte {position}; the limit is {RECORD_MAX_BYTES}")
        if length == 0 or after > stop:
            raise MalformedError(f"record of {length} bytes at byte {position} does not fit its payload")
        if sequence > acked:
            if data[body + 1 : body + 5] == prefix:
                rows += 1
            else:
                record = _notice(data[body:after], unpack(data, position)[1], sequence)
                if isinstance(record, records.Losses):
                    add_losses(losses, record.rows)
                elif isinstance(record, records.End):
                    end = record
                elif isinstance(record, (records.Artifact, records.Staged)):
                    artifacts.append(record)
                elif isinstance(record, records.Output):
                    output.append(record)
                elif isinstance(record, records.Sample):
                    samples += len(record.values)
                    samples_lost += min(max(0, record.lost), LOSS_MAX_ROWS)
                elif isinstance(record, records.Event):
                    events.append(record)
        else:
            start = after
        position = after
        sequence += 1
    if sequence != last + 1:
        raise MalformedError(f"{sequence - first} records where the batch says {first} to {last}")
    return Survey(start, rows, losses, end, artifacts, output, samples, samples_lost, events)


def _notice(body: bytes, crc: int, sequence: int) -> records.AnyRecord | None:
    """A record that is no row. Damaged and unknown records are the worker's to count."""
    if checksum(body, sequence) != crc:
        return None
    try:
        return records.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def add_losses(total: dict[str, int], more: dict[str, int]) -> None:
    """Add counts by reason; what is not positive is nobody's loss. Past LOSS_REASONS_MAX, reasons go into "other"."""
    for given, count in more.items():
        if count > 0:
            known = given in total or len(total) < LOSS_REASONS_MAX
            reason = given if known and len(given) <= LOSS_REASON_MAX_CHARS else "other"
            total[reason] = min(total.get(reason, 0) + count, LOSS_MAX_ROWS)
