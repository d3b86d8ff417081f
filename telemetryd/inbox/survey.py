"""What a payload of records holds, told in one walk over it. Pure.

Rows are counted by their first bytes; only the few records that are no rows are decoded, to spot those that the daemon
itself acts on (Losses, End, artifacts, output). Checksums of rows are left to the run worker.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import msgspec

from client.protocol import records
from client.protocol.errors import MalformedError, OversizedError
from client.protocol.framing import HEADER, HEADER_BYTES, Buffer, checksum
from client.protocol.limits import RECORD_MAX_BYTES
from telemetryd.limits import LOSS_MAX_ROWS, LOSS_REASON_MAX_CHARS, LOSS_REASONS_MAX

_BEGINNING = struct.Struct("<IIx4s")
"""A record's header, and of its body what tells a row: all in one look."""
_ROW_MIN_BYTES = 1 + len(records.ROW_PREFIX)


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
    stop = len(payload)
    start, sequence = _behind(payload, first, acked)
    position, rows, others = start, 0, 0
    samples = samples_lost = 0
    losses: dict[str, int] = {}
    end: records.End | None = None
    artifacts: list[records.Artifact | records.Staged] = []
    output: list[records.Output] = []
    events: list[records.Event] = []
    unpack, prefix, whole = _BEGINNING.unpack_from, records.ROW_PREFIX, stop - _BEGINNING.size
    while position < stop:
        if position <= whole:  # a row costs these few lines, and there are hundreds of thousands a second
            length, crc, mark = unpack(payload, position)
            if mark == prefix and _ROW_MIN_BYTES <= length <= RECORD_MAX_BYTES:
                rows += 1
                position += HEADER_BYTES + length
                continue
        after, crc = _bounds(payload, position)
        record = _notice(bytes(memoryview(payload)[position + HEADER_BYTES : after]), crc, sequence + rows + others)
        others += 1
        position = after
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
    if position != stop:
        raise MalformedError(f"the last record ends at byte {position} of a payload of {stop}")
    if sequence + rows + others != last + 1:
        raise MalformedError(f"{sequence + rows + others - first} records where the batch says {first} to {last}")
    return Survey(start, rows, losses, end, artifacts, output, samples, samples_lost, events)


def _behind(payload: Buffer, sequence: int, acked: int) -> tuple[int, int]:
    """Where the first record beyond `acked` begins, and its number."""
    position, stop = 0, len(payload)
    while sequence <= acked and position < stop:
        position, _ = _bounds(payload, position)
        sequence += 1
    return position, sequence


def _bounds(payload: Buffer, position: int) -> tuple[int, int]:
    """Where the record at `position` ends, and its checksum. Raises MalformedError, OversizedError."""
    body, stop = position + HEADER_BYTES, len(payload)
    if body > stop:
        raise MalformedError(f"record header cut at byte {position}")
    length, crc = HEADER.unpack_from(payload, position)
    if length > RECORD_MAX_BYTES:
        raise OversizedError(f"record of {length} bytes at byte {position}; the limit is {RECORD_MAX_BYTES}")
    if length == 0 or body + length > stop:
        raise MalformedError(f"record of {length} bytes at byte {position} does not fit its payload")
    return body + length, crc


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
