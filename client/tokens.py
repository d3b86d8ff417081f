"""Random names. The standard library's `secrets` would do, and brings OpenSSL into every training process: 3.4 MB."""

from __future__ import annotations

import os
from random import SystemRandom

choice = SystemRandom().choice
"""One of a sequence, from the kernel's random numbers."""


def token_hex(size_bytes: int) -> str:
    """As `secrets.token_hex`: twice as many characters as bytes."""
    return os.urandom(size_bytes).hex()


def random_bits(count: int) -> int:
    """A number of at most so many bits."""
    return SystemRandom().getrandbits(count)
