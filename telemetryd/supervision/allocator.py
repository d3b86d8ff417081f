"""Has the C library give the memory of large messages back when they are done with.

glibc raises by itself, up to 32 MiB, the size from which memory is mapped apart and unmapped when it is freed; below
that what is freed stays in the heap of the thread that took it. One peer that sends large batches would so leave the
daemon with 200 MiB and more for good. A fixed size keeps usual batches, of a segment of a client's journal, cheap.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

from telemetryd.limits import HEAP_KEEPS_BYTES, MAPPED_APART_BYTES

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def is_told(environ: Mapping[str, str]) -> bool:
    """Whether somebody has tuned the allocator by its own variables."""
    by_name = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")
    return any(environ.get(name) for name in by_name) or "glibc.malloc." in environ.get("GLIBC_TUNABLES", "")


def give_back_large() -> bool:
    """For this process, from now on, unless its environment says otherwise. False where the C library has no such
    options: it does as it does."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or is_told(os.environ):
        return False
    options = {_M_MMAP_THRESHOLD: MAPPED_APART_BYTES, _M_TRIM_THRESHOLD: HEAP_KEEPS_BYTES}
    taken = [mallopt(ctypes.c_int(option), ctypes.c_int(size)) for option, size in options.items()]
    return all(taken)
