"""Whole columns of numbers, str, bool and None: the classes of the values decide their type, at the speed of C."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import repeat
from typing import Any

from client.tables import types

PLAIN = frozenset({type(None), bool, int, float, str})
ARTIFACT = "wandb-artifact://"
"""A str that begins so is a reference to an artifact, and no text."""


def assign_plain(kind: types.Type, values: Sequence[Any]) -> types.Type:
    """`kind` after all of `values`, decided by their classes where these are plain; INVALID where they are not."""
    classes = dict.fromkeys(map(type, values))
    if not classes.keys() <= PLAIN or not kind.goes_by_class():
        return types.INVALID
    if str in classes:
        texts = values if len(classes) == 1 else [value for value in values if type(value) is str]
        if any(map(str.startswith, texts, repeat(ARTIFACT))):
            return types.INVALID
    for each in classes:
        if each is float:
            floats = values if len(classes) == 1 else [value for value in values if type(value) is float]
            if isinstance(kind.assign_type(types.NONE), types.InvalidType) and any(v != v for v in floats):
                return types.INVALID
            kind = kind.assign(next((value for value in floats if value == value), floats[0]))
        else:
            kind = kind.assign(next(value for value in values if type(value) is each))
    return kind


def is_numpy_array(value: Any) -> bool:
    """Whether it is a numpy array."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def is_numpy_number(value: Any) -> bool:
    """Whether it is a real number or bool of numpy's."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.number, numpy.bool_)) and value.dtype.kind in "biuf"


def has_plain_numbers(array: Any) -> bool:
    """Whether the array's elements are numbers that Python has, too."""
    return is_numpy_array(array) and array.dtype.kind in "biuf" and array.dtype.itemsize <= 8
