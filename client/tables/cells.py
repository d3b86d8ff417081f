"""Cells as they are captured: numbers, str and lists as they are, the rest as the daemon needs it to make them again.

wandb writes a table twice, and a cell with a value that JSON has not differs between the two: a date is milliseconds in
one and text in the other. So such a cell goes as what to construct, and wandb's own code writes it.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import sys
from typing import Any

from client import tensors
from client.media import arrays
from client.media.base import Media, Part

_PLAIN = frozenset({type(None), bool, int, float, str, bytes})


def captured(value: Any) -> Any:
    """A cell's value for the encoder. Raises TypeError for what wandb cannot store in a table."""
    kind = type(value)
    if kind in _PLAIN or isinstance(value, Media):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, enum.Enum):
        return Part("enum", name=value.name, value=captured(value.value))
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, dict):
        return {_key(key): captured(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [captured(item) for item in value]
    if isinstance(value, datetime.datetime):
        return Part("datetime", iso=datetime.datetime.isoformat(value))
    if isinstance(value, datetime.date):
        return Part("date", iso=value.isoformat())
    if isinstance(value, decimal.Decimal):
        return Part("decimal", text=str(value))
    if tensors.is_numpy_scalar(value):
        return _numpy_scalar(value)
    if tensors.is_array(value):
        return _array(value)
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    raise _refused(value)


def _key(key: Any) -> Any:
    return tensors.scalar(key) if tensors.is_numpy_scalar(key) else key


def _refused(value: Any) -> TypeError:
    return TypeError(
        f"Object of type {type(value).__name__} is not JSON serializable: a table's cells may be numbers, str, lists,"
        " dicts, dates, arrays of numbers and media, or str(value)"
    )


def _numpy_scalar(value: Any) -> Any:
    if value.dtype.kind == "M":
        numpy = sys.modules["numpy"]
        unit, count = numpy.datetime_data(value.dtype)
        return Part("datetime64", value=int(value.astype("<i8")), unit=f"{count}{unit}" if count > 1 else unit)
    plain = tensors.scalar(value)
    if type(plain) not in _PLAIN:
        raise _refused(value)
    return plain


def _array(value: Any) -> Any:
    """An array of numbers as it is; one of anything else as a list, of which wandb makes an array where needed."""
    if tensors.is_torch(value) or value.dtype.kind in "biuf":
        return arrays.capture(value)
    return captured(value.tolist())
