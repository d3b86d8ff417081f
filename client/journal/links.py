"""Links: how the journal on disk stands for Blob records, whose bytes lie on shelves (blobs.py).

    Link := {"t": "lnk", "i": blob id, "p": offset in the blob, "f": shelf, "o": offset on it, "z": size}

It stands in segments only, never on the wire.

A Link is one numbered record, and becomes one Blob record with the same number. `expand` does that for a stretch of the
journal, piece by piece, so that no batch grows beyond what a peer takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from client.limits import EXPANDED_BATCH_BYTES
from client.protocol.framing import HEADER, HEADER_BYTES, checksum, spans
from client.protocol.records import Blob

_PREFIX = b"\xa1t\xa3lnk"
_encode = msgspec.msgpack.Encoder().encode

Read = Callable[[int, int, int], "bytes | memoryview"]
"""(shelf, offset, size) → the bytes there. Raises OSError or ValueError where there are none."""


class Link(
    msgspec.Struct, tag_field="t", tag="lnk", rename={"id": "i", "part": "p", "shelf": "f", "offset": "o", "size": "z"}
):
    """See the module's head."""

    id: int
    part: int
    shelf: int
    offset: int
    size: int


_decode = msgspec.msgpack.Decoder(Link).decode


def link(blob_id: int, part: int, shelf: int, offset: int, size: int) -> bytes:
    """A Link's body."""
    return _encode(Link(blob_id, part, shelf, offset, size))


def may_hold_links(payload: bytes) -> bool:
    """Whether a walk over these records is worth while."""
    return _PREFIX in payload


def is_link(body: bytes | memoryview) -> bool:
    """Whether a record's body is a Link, told by its first bytes."""
    return bytes(body[1:7]) == _PREFIX


def expand(payload: bytes, first: int, read: Read) -> Iterator[tuple[int, int, bytes]]:
    """Yield (first, last, payload) with every Link replaced by its Blob. A Link whose bytes are gone stays as it is:
    the reader does not know its kind, passes over it, and finds the value's bytes missing."""
    pieces: list[bytes] = []
    size, begun, number = 0, first, first
    view = memoryview(payload)
    copied = 0  # what of the payload is in `pieces`
    for start, stop in spans(payload):
        body = view[start:stop]
        if is_link(body):
            record = _blob(body, number, read)
            if record is not None:
                pieces += [bytes(view[copied : start - HEADER_BYTES]), *record]
                copied = stop
                size += len(record[1])
        if size >= EXPANDED_BATCH_BYTES:
            pieces.append(bytes(view[copied:stop]))
            yield begun, number, b"".join(pieces)
            pieces, size, begun, copied = [], 0, number + 1, stop
        number += 1
    pieces.append(bytes(view[copied:]))
    if number > begun:
        yield begun, number - 1, b"".join(pieces)


def _blob(body: memoryview, number: int, read: Read) -> tuple[bytes, bytes] | None:
    try:
        said = _decode(body)
        blob = _encode(Blob(said.id, read(said.shelf, said.offset, said.size), said.part))  # type: ignore[arg-type]
    except (msgspec.MsgspecError, OSError, ValueError):
        return None
    return HEADER.pack(len(blob), checksum(blob, number)), blob
