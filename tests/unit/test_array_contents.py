"""The numbers of arrays, as media values capture them: the same bytes whichever way they are read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from client import fastlog, tensors

_PLAIN = np.arange(24, dtype="u1").reshape(2, 3, 4)
_READ_ONLY = _PLAIN.copy()
_READ_ONLY.flags.writeable = False


class _Subclass(np.ndarray):
    pass


def captured(value: np.ndarray) -> tuple[str, list[int], bytes]:
    dtype, shape, size, fill = tensors.contents(value)
    room = bytearray(size)
    if size:
        fill(memoryview(room))
    return dtype, shape, bytes(room)


@pytest.mark.parametrize("letter", [*"?bBhHiIlLqQefd", ">i4", ">f8", "<u2", "intp", "bool"])
def test_the_numbers_of_every_type_are_captured_under_its_name(letter: str) -> None:
    array = np.array([[0, 1, 2], [3, 4, 5]]).astype(letter)
    assert captured(array) == (array.dtype.str, [2, 3], array.tobytes())


@pytest.mark.parametrize(
    "array",
    [
        _PLAIN,
        _PLAIN[::2],
        _PLAIN[:, ::-1],
        _PLAIN.transpose(2, 0, 1),
        np.asfortranarray(_PLAIN),
        _PLAIN[:, :0],
        _READ_ONLY,
        np.array(7, dtype="i4"),
        _PLAIN.view(_Subclass),
        np.ma.masked_array(_PLAIN, mask=False),
    ],
    ids=["plain", "strided", "reversed", "transposed", "fortran", "empty", "read only", "0-d", "subclass", "masked"],
)
def test_the_numbers_are_captured_in_their_order_however_they_lie(array: np.ndarray) -> None:
    assert captured(array) == (array.dtype.str, list(array.shape), array.tobytes())


@pytest.mark.parametrize("letter", ["M8[s]", "m8[s]", "c16", "g", "O", "U4", "S3", "V2"])
def test_what_has_no_real_numbers_of_64_bits_is_refused(letter: str) -> None:
    with pytest.raises(TypeError, match="cannot be part of a media value"):
        tensors.contents(np.zeros(3, dtype=letter))


@pytest.mark.parametrize("copy", [fastlog._copy, fastlog.copy], ids=["python", "as installed"])
@pytest.mark.parametrize("size", [0, 1, 63, 4096, (128 << 10) - 1, 128 << 10, (128 << 10) + 1, 786_432, 1_000_003])
@pytest.mark.parametrize("offset", [0, 1, 15, 16, 37])
def test_bytes_are_copied_whole_and_nothing_beside_them(
    copy: Callable[[memoryview, object], None], size: int, offset: int
) -> None:
    source = np.random.default_rng(size).integers(0, 256, size + offset, dtype="u1")[offset:]
    place = bytearray(b"\xaa" * (size + 200))
    copy(memoryview(place)[offset : offset + size], source)
    assert place[offset : offset + size] == source.tobytes()
    assert set(place[:offset] + place[offset + size :]) == {0xAA}


@pytest.mark.parametrize("copy", [fastlog._copy, fastlog.copy], ids=["python", "as installed"])
def test_bytes_are_copied_only_into_a_place_of_their_size_that_may_be_written(
    copy: Callable[[memoryview, object], None],
) -> None:
    with pytest.raises(ValueError, match=r"size|structure"):
        copy(memoryview(bytearray(5)), b"123456")
    with pytest.raises((TypeError, BufferError)):
        copy(memoryview(b"123456"), b"123456")
