"""How records lie one behind another, in the journal and in a Batch's payload alike.

    record := length u32le | crc u32le | body[length]

* `crc` is zlib.crc32 over the body, seeded with the record's sequence number: its low 32 bits, xor its high 32 bits
  times 0x9E3779B1 (modulo 2^32). The number itself is not stored: records are numbered 1, 2, 3 … within a session, and
  whoever holds a run of records knows the first number. The seed makes bytes that stood at another place (a recycled
  segment) fail the check, and so does a first number with a bit turned: the factor is odd, so no bit is without effect.
* `length` is at least 1, so a zeroed page is never a record.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import TypeAlias

from client.protocol.errors import MalformedError, OversizedError
from client.protocol.limits import RECORD_MAX_BYTES

Buffer: TypeAlias = "bytes | bytearray | memoryview"

HEADER = struct.Struct("<II")
HEADER_BYTES = HEADER.size


LOW_BITS = 0xFFFFFFFF
_HIGH_FACTOR = 0x9E3779B1


def seed(sequence: int) -> int:
    """What a record's checksum begins with: the number itself, for the first four thousand million of a session."""
    return (sequence ^ (sequence >> 32) * _HIGH_FACTOR) & LOW_BITS


def checksum(body: Buffer, sequence: int) -> int:
    """CRC-32 of a record's body at its place in the session."""
    return zlib.crc32(body, seed(sequence))


def frame(body: bytes, sequence: int) -> bytes:
    """The bytes of one record."""
    return HEADER.pack(len(body), checksum(body, sequence)) + body


def spans(payload: Buffer, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each body in `payload`, by lengths alone; no checksum is computed.

    Raises MalformedError where a length runs past the end or is zero, OversizedError where it exceeds the limit.
    """
    stop = len(payload) if end is None else end
    unpack = HEADER.unpack_from
    position = start
    while position < stop:
        body_start = position + HEADER_BYTES
        if body_start > stop:
            raise MalformedError(f"record header cut at byte {position}")
        length = unpack(payload, position)[0]
        if length > RECORD_MAX_BYTES:
            raise OversizedError(f"record of {length} bytes at byte {position}; the limit is {RECORD_MAX_BYTES}")
        position = body_start + length
        if length == 0 or position > stop:
            raise MalformedError(
                f"record of {length} bytes at byte {body_start - HEADER_BYTES} does not fit its payload"
            )
        yield body_start, position


def bodies(payload: Buffer, first_sequence: int) -> Iterator[tuple[int, Buffer | None]]:
    """Yield (sequence, body) of each record of `payload`; the body is None where its checksum does not hold.

    Raises as `spans` does.
    """
    unpack = HEADER.unpack_from
    view = memoryview(payload)
    sequence = first_sequence
    for start, end in spans(payload):
        body = view[start:end]
        intact = unpack(payload, start - HEADER_BYTES)[1] == checksum(body, sequence)
        yield sequence, body if intact else None
        sequence += 1
