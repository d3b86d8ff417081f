"""What the daemon and its api process (api_main.py) say to each other: msgpack maps behind a length, as in
control.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from telemetryd.pipe_frames import Cutter, framed

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
    return framed(_encoder.encode(frame))


class Frames:
    """Cuts what a pipe brings into frames."""

    def __init__(self) -> None:
        self._cutter = Cutter("the api process's pipe", FRAME_MAX_BYTES)

    def requests(self, data: bytes) -> Iterator[Request]:
        """Requests. Raises ValueError on bytes that are none."""
        for body in self._cutter.bodies(data):
            yield _requests.decode(body)

    def responses(self, data: bytes) -> Iterator[Response]:
        """Responses. Raises ValueError on bytes that are none."""
        for body in self._cutter.bodies(data):
            yield _responses.decode(body)
