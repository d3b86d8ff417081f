"""What the wire brings becomes what wandb converts: arrays with and without numpy, and what cannot be rebuilt."""

from __future__ import annotations

import struct
import sys

import msgspec
import numpy as np
import pytest

from client.protocol.records import Array
from telemetryd.runs.wire_values import revive, revive_row

GRID = Array("<f4", (2, 3), struct.pack("<6f", 0, 1, 2, 3, 4, 5))


def test_an_array_becomes_numpys_again_wherever_it_stands() -> None:
    data = revive_row({"a": GRID, "n": {"l": [1, GRID]}, "plain": 2**70})
    assert isinstance(data["a"], np.ndarray)
    assert data["a"].dtype == np.float32
    assert data["a"].tolist() == [[0, 1, 2], [3, 4, 5]] == data["n"]["l"][1].tolist()
    assert data["plain"] == 2**70


def test_a_row_of_plain_values_is_passed_on_as_it_is() -> None:
    row = {"a": 1.5, "b": None, "c": "x", "d": True}
    assert revive_row(row) is row


@pytest.mark.parametrize(
    ("array", "values"),
    [
        (GRID, [[0, 1, 2], [3, 4, 5]]),
        (Array("<i8", (), struct.pack("<q", 7)), 7),
        (Array("|b1", (2,), b"\x01\x00"), [True, False]),
        (Array("<f8", (0,), b""), []),
        (Array("<f8", (2, 0), b""), []),
    ],
)
def test_without_numpy_an_array_becomes_lists(monkeypatch: pytest.MonkeyPatch, array: Array, values: object) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert revive(array) == values


@pytest.mark.parametrize(
    "value",
    [Array("<f4", (2,), b"\0\0\0"), Array("nonsense", (1,), b"\0"), msgspec.msgpack.Ext(77, b"")],
)
def test_what_cannot_be_rebuilt_is_a_value_error(value: object) -> None:
    with pytest.raises(ValueError, match=r"cannot be rebuilt|update it"):
        revive({"x": [value]})
