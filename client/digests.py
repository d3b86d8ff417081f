"""Digests by the standard library's hashlib, which is imported at the first: it brings OpenSSL, 3.4 MB of memory, and a
training process that logs no artifact does without."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash


def md5(data: bytes = b"") -> _Hash:
    """An MD5 of `data`, and of what is added by `update`: what W&B names content by, no protection."""
    import hashlib

    return hashlib.md5(data, usedforsecurity=False)


def sha256(data: bytes) -> bytes:
    """The 32 bytes of a SHA-256."""
    import hashlib

    return hashlib.sha256(data).digest()
