"""Errors of the wire.

    ProtocolError
    ├── MalformedError      bytes that are no message, no record, or contradict themselves
    ├── OversizedError      larger than `limits` allows
    └── VersionError        a peer of another major

Each carries the `code` that a Refuse message gives to the peer (messages.RefuseCode).
"""

from __future__ import annotations


class ProtocolError(Exception):
    """Bytes that this version of the protocol cannot take."""

    code = "malformed"


class MalformedError(ProtocolError):
    """The bytes are no message or record of this protocol."""

    code = "malformed"


class OversizedError(ProtocolError):
    """A frame or record is larger than the protocol allows."""

    code = "oversized"


class VersionError(ProtocolError):
    """The peer speaks another major version of the protocol; update the older side."""

    code = "version"
