"""What the daemon and its api process (api_main.py) say to each other: msgpack maps behind a length, as in
control.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from telemetryd.runs.control import LENGTH

FRAME_MAX_BYTES = 16 << 20


class Request(msgspec.Struct):
    """A client's question: the arguments of an Ask of kind `api`."""

    id: int
    args: dict[str, Any]


class Response(msgspec.Struct, omit_defaults=True):
    """Its answer; `error` means that there is none, for a reason that is not W&B's."""

    id: int
    result: dict[str, Any] = {}
    error: str | None = None


_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder(Request)
_responses = msgspec.msgpack.Decoder(Response)


def pack(frame: Request | Response) -> bytes:
    """A frame as it goes through the pipe."""
    body = _encoder.encode(frame)
    return LENGTH.pack(len(body)) + body


class Frames:
    """Cuts what a pipe brings into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def _bodies(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        while len(self._buffer) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer)
            if length > FRAME_MAX_BYTES:
                raise ValueError(f"frame of {length} bytes on the api process's pipe; the limit is {FRAME_MAX_BYTES}")
            end = LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[LENGTH.size : end])
            del self._buffer[:end]
            yield body

    def requests(self, data: bytes) -> Iterator[Request]:
        """Requests. Raises ValueError on bytes that are none."""
        for body in self._bodies(data):
            yield _requests.decode(body)

    def responses(self, data: bytes) -> Iterator[Response]:
        """Responses. Raises ValueError on bytes that are none."""
        for body in self._bodies(data):
            yield _responses.decode(body)
