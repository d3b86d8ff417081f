"""The bytes of a journal segment.

    0   magic        8 bytes   "TLMDJNL" 0x01; the last byte is the format's version
    8   committed    u64le     records << 32 | end: so many records are complete, and end before this offset
    16  session      16 bytes
    32  first        u64le     sequence number of the segment's first record
    40  size         u64le     bytes of the segment
    48  reserved     16 bytes  zero
    64  records      as protocol/framing.py lays them out

Invariants
* `committed` is one aligned 8-byte store, made after the bytes it covers: a reader, in this process or another, never
  sees a record that is not whole, whenever the writer dies.
* Within a session every record number stands in one segment; numbers rise along a segment and from one to the next.
* A segment is reused only after all its records were acked: first `committed` says "empty", then `first` changes.
"""

from __future__ import annotations

import struct

MAGIC = b"TLMDJNL\x01"
HEADER = struct.Struct("<8sQ16sQQ16x")
HEADER_BYTES = HEADER.size
COMMITTED_WORD = 1
"""The index of `committed` among the header's 8-byte words."""
FIRST_WORD = 4
ONE_RECORD = 1 << 32
END_MASK = ONE_RECORD - 1
EMPTY = HEADER_BYTES
"""The committed word of a segment without records."""
SUFFIX = ".seg"


def file_name(index: int) -> str:
    """The name of the `index`th segment of a session, counted from 1."""
    return f"{index:08d}{SUFFIX}"
