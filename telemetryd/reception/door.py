"""Who is let in: the answer to a ZAP request (RFC 27), which libzmq asks at each CURVE handshake. Pure.

    request   ["1.0", id, domain, address, identity, mechanism, credentials …]
    answer    ["1.0", id, status, text, user, metadata]

A client with a key of the set is let in under its name; everybody else is answered 400 before any message of theirs is
taken, so that an unknown peer costs a connection's handshake and nothing more.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

VERSION = b"1.0"
MECHANISM = b"CURVE"
KEY_BYTES = 32


@dataclass(frozen=True)
class Answer:
    """The frames to send back; for a peer that was refused, its address and the reason."""

    frames: list[bytes]
    address: str = ""
    refused: str | None = None


def answer(request: Sequence[bytes], let_in: Mapping[bytes, str]) -> Answer | None:
    """Decide a request; `let_in` has names by raw public key. None for what is no request at all."""
    if len(request) < 6 or request[0] != VERSION:
        return None
    number, address, mechanism, credentials = request[1], request[3], request[5], request[6:]
    where = address.decode("ascii", "replace")[:64]
    if mechanism != MECHANISM or len(credentials) != 1 or len(credentials[0]) != KEY_BYTES:
        return Answer([VERSION, number, b"400", b"a key is needed", b"", b""], where, "it has no key")
    name = let_in.get(credentials[0])
    if name is None:
        shown = binascii.hexlify(credentials[0][:4]).decode()
        return Answer([VERSION, number, b"400", b"unknown key", b"", b""], where, f"its key {shown}… is unknown")
    return Answer([VERSION, number, b"200", b"OK", name.encode(), b""], where)
