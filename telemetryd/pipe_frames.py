"""Frames on a pipe between the daemon and a process of its own: a body behind its length as u32le."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_LENGTH = struct.Struct("<I")


def framed(body: bytes) -> bytes:
    """A body as it goes through the pipe."""
    return _LENGTH.pack(len(body)) + body


class Cutter:
    """Cuts what a pipe brings, in pieces of any size, into bodies. One Cutter per pipe."""

    def __init__(self, pipe: str, max_bytes: int) -> None:
        """`pipe` names it in the error about a body of more than `max_bytes`."""
        self._pipe = pipe
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def bodies(self, data: bytes) -> Iterator[bytes]:
        """The bodies that are complete now. Raises ValueError on bytes that are none."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > self._max_bytes:
                raise ValueError(f"frame of {length} bytes on {self._pipe}; the limit is {self._max_bytes}")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield body
