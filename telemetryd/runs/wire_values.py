"""Values as the wire brings them, made into what wandb converts itself: arrays become numpy's where that is there."""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from client.protocol.records import Array


def _array(array: Array) -> Any:
    try:
        import numpy as np
    except ImportError:
        return _nested(array)
    try:
        return np.frombuffer(array.raw, dtype=np.dtype(array.dtype)).reshape(array.shape)
    except (TypeError, ValueError) as error:
        raise ValueError(f"an array of {array.dtype} {list(array.shape)} cannot be rebuilt: {error}") from error


def _nested(array: Array) -> Any:
    codes = {"f8": "d", "f4": "f", "i8": "q", "i4": "i", "i2": "h", "i1": "b"}
    codes |= {"u8": "Q", "u4": "I", "u2": "H", "u1": "B", "b1": "?"}
    code = codes.get(array.dtype.lstrip("<|=")) or ""
    if not code:
        raise ValueError(f"an array of {array.dtype} needs numpy beside the daemon: pip install numpy")
    size = struct.calcsize(code)
    values: list[Any] = list(struct.unpack(f"<{len(array.raw) // size}{code}", array.raw))
    for length in reversed(array.shape[1:]):
        values = [values[i : i + length] for i in range(0, len(values), length)] if length else []
    return values if array.shape else values[0]


_LEAVES = frozenset({float, int, str, bool, type(None)})


def revive(value: Any) -> Any:
    """A value for wandb. Raises ValueError for an array or extension that cannot be rebuilt."""
    kind = type(value)
    if kind in _LEAVES:
        return value
    if kind is dict:
        return {key: revive(item) for key, item in value.items()}
    if kind is list:
        return [revive(item) for item in value]
    if kind is Array:
        return _array(value)
    if kind is msgspec.msgpack.Ext:
        raise ValueError(f"a value of extension type {value.code}, which this telemetryd does not know: update it")
    return value


def is_plain(data: dict[str, Any]) -> bool:
    """Whether a row has nothing but numbers, str, bool and None in it, as nearly all have."""
    return _LEAVES.issuperset(map(type, data.values()))


def revive_row(data: dict[str, Any]) -> dict[str, Any]:
    """A row's values for wandb; the row itself when there is nothing to rebuild. Raises as `revive` does."""
    return data if is_plain(data) else {key: revive(item) for key, item in data.items()}
