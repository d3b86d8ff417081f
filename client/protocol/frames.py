"""Messages as ZeroMQ frames: [message] or, for a Batch, [message, payload].

The checks that need no state are made here, so that what comes out is well-formed: sizes, frame counts, the payload's
checksum and that its records are as many as the Batch says.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import msgspec

from client.protocol import version
from client.protocol.errors import MalformedError, OversizedError, VersionError
from client.protocol.framing import Buffer
from client.protocol.limits import BATCH_MAX_BYTES, HEADER_MAX_BYTES
from client.protocol.messages import Batch, FromClient, FromDaemon, Hello, Message
from client.protocol.records import decode_ext

_encoder = msgspec.msgpack.Encoder()
_from_client: msgspec.msgpack.Decoder[FromClient] = msgspec.msgpack.Decoder(FromClient, ext_hook=decode_ext)
_from_daemon: msgspec.msgpack.Decoder[FromDaemon] = msgspec.msgpack.Decoder(FromDaemon, ext_hook=decode_ext)


def pack(message: Message, payload: Buffer | None = None) -> list[Buffer]:
    """The frames of a message. Raises OversizedError when the peer would refuse them."""
    head = _encoder.encode(message)
    if len(head) > HEADER_MAX_BYTES:
        raise OversizedError(f"message of {len(head)} bytes; the limit is {HEADER_MAX_BYTES}")
    return [head] if payload is None else [head, payload]


def batch(session: str, first: int, last: int, payload: Buffer, offered: int) -> list[Buffer]:
    """The frames of records `first` to `last`."""
    return pack(Batch(session, first, last, zlib.crc32(payload), offered), payload)


def unpack_from_client(frames: Sequence[Buffer]) -> tuple[FromClient, Buffer | None]:
    """What a client sent. Raises MalformedError, OversizedError or VersionError; the bytes are never trusted."""
    if not 1 <= len(frames) <= 2:
        raise MalformedError(f"{len(frames)} frames; a message has one, a batch two")
    if len(frames[0]) > HEADER_MAX_BYTES:
        raise OversizedError(f"message frame of {len(frames[0])} bytes; the limit is {HEADER_MAX_BYTES}")
    try:
        message = _from_client.decode(frames[0])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MalformedError(f"no message of protocol {version.MAJOR}.{version.MINOR}: {error}") from None
    if isinstance(message, Hello) and not version.is_compatible(message.major):
        raise VersionError(
            f"the client speaks protocol {message.major}.{message.minor}, this daemon {version.MAJOR}.{version.MINOR}:"
            " update the older side"
        )
    payload = frames[1] if len(frames) == 2 else None
    if isinstance(message, Batch):
        _check_batch(message, payload)
    elif payload is not None:
        raise MalformedError("a payload frame on a message that has none")
    return message, payload


def _check_batch(message: Batch, payload: Buffer | None) -> None:
    if payload is None:
        raise MalformedError("a batch without its payload frame")
    if len(payload) > BATCH_MAX_BYTES:
        raise OversizedError(f"batch of {len(payload)} bytes; the limit is {BATCH_MAX_BYTES}")
    if not 1 <= message.first <= message.last:
        raise MalformedError(f"batch of records {message.first} to {message.last}")
    if zlib.crc32(payload) != message.crc:
        raise MalformedError("batch payload does not match its checksum")


def unpack_from_daemon(frames: Sequence[Buffer]) -> FromDaemon:
    """What the daemon sent. Raises MalformedError or OversizedError."""
    if len(frames) != 1:
        raise MalformedError(f"{len(frames)} frames from the daemon; one was expected")
    if len(frames[0]) > HEADER_MAX_BYTES:
        raise OversizedError(f"message frame of {len(frames[0])} bytes; the limit is {HEADER_MAX_BYTES}")
    try:
        return _from_daemon.decode(frames[0])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MalformedError(f"no message of protocol {version.MAJOR}.{version.MINOR}: {error}") from None
