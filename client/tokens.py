"""Random names. The standard library's `secrets` would do, and brings OpenSSL into every training process: 3.4 MB."""

from __future__ import annotations

import os
from collections.abc import Sequence


def choice(among: Sequence[str]) -> str:
    """One of a sequence, from 64 of the kernel's random bits: none is likelier than another to speak of."""
    return among[random_bits(64) % len(among)]


def token_hex(size_bytes: int) -> str:
    """As `secrets.token_hex`: twice as many characters as bytes."""
    return os.urandom(size_bytes).hex()


def random_bits(count: int) -> int:
    """A number of at most so many bits."""
    return int.from_bytes(os.urandom((count + 7) // 8), "little") & ((1 << count) - 1)
