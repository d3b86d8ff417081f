"""What tunes the C library's allocator steps back where somebody has tuned it."""

from __future__ import annotations

import pytest

from telemetryd.supervision import allocator


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, False),
        ({"MALLOC_ARENA_MAX": "2", "GLIBC_TUNABLES": "glibc.cpu.x86_shstk=off"}, False),
        ({"MALLOC_MMAP_THRESHOLD_": "131072"}, True),
        ({"MALLOC_TRIM_THRESHOLD_": "131072"}, True),
        ({"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}, True),
    ],
)
def test_the_environments_word_on_the_allocator_stands(environ: dict[str, str], told: bool) -> None:
    assert allocator.is_told(environ) is told
