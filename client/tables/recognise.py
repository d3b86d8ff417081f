"""Which type a value has, and what a caller's `dtype` means. numpy is recognised where the caller has imported it."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable
from typing import Any

from client.tables import compound, types

_ARTIFACT = "wandb-artifact://"

OBJECT_TYPES = {
    "Audio": "audio-file",
    "Classes": "classesId",
    "Html": "html-file",
    "Image": "image-file",
    "JoinedTable": "joined-table",
    "Object3D": "object3D-file",
    "Video": "video-file",
}
"""The name of a column's type by the client's class; a class that is not here is a Python object to wandb, too."""

_BY_CLASS: dict[type, Callable[[Any], types.Type]] = {
    type(None): lambda value: types.NONE,
    bool: lambda value: types.BOOLEAN,
    int: lambda value: types.NUMBER,
    float: lambda value: types.NUMBER if value == value else types.NONE,
    datetime.datetime: lambda value: types.TIMESTAMP,
    datetime.date: lambda value: types.TIMESTAMP,
    list: lambda value: compound.ListType.of(value),
    tuple: lambda value: compound.ListType.of(value),
    set: lambda value: compound.ListType.of(list(value)),
    frozenset: lambda value: compound.ListType.of(list(value)),
}

_BARE: dict[type, Callable[[], types.Type]] = {
    type(None): lambda: types.NONE,
    bool: lambda: types.BOOLEAN,
    int: lambda: types.NUMBER,
    float: lambda: types.NUMBER,
    str: lambda: types.STRING,
    datetime.datetime: lambda: types.TIMESTAMP,
    datetime.date: lambda: types.TIMESTAMP,
    list: compound.ListType,
    tuple: compound.ListType,
    set: compound.ListType,
    frozenset: compound.ListType,
    dict: lambda: compound.DictType({}),
}


def type_of(value: Any) -> types.Type:
    """The type of one value, as wandb's `TypeRegistry.type_of`."""
    kind = value.__class__
    known = _BY_CLASS.get(kind)
    if known is not None:
        return known(value)
    if isinstance(value, str) and value.startswith(_ARTIFACT):
        return types.ArtifactVersionType()
    if kind is str:
        return types.STRING
    if isinstance(value, dict) and value.get("_type") == "artifactVersion":
        return types.ArtifactVersionType()
    if kind is dict:
        return compound.DictType({key: type_of(item) for key, item in value.items()})
    own = getattr(value, "_column_type", None)  # tables, keys, media: they say it themselves
    if own is not None and kind.__module__.partition(".")[0] == "client":
        own = own()
        assert isinstance(own, types.Type)
        return own
    if kind.__module__.partition(".")[0] == "client" and kind.__name__ in OBJECT_TYPES:
        return types.ObjectType(OBJECT_TYPES[kind.__name__])
    return _numpy_type(value, kind) or types.PythonObjectType(kind.__name__)


def _numpy_type(value: Any, kind: type) -> types.Type | None:
    bare = _bare_numpy_type(kind)
    return compound.ArrayType(value.shape) if bare is _ARRAY else bare


_ARRAY = compound.ArrayType([])


def _bare_numpy_type(kind: type) -> types.Type | None:
    """The type of a numpy class; `_ARRAY` for arrays, whose shape their type tells; None for any other class."""
    numpy = sys.modules.get("numpy")
    if numpy is None or kind.__module__ != "numpy":
        return None
    if kind is numpy.ndarray:
        return _ARRAY
    if kind is numpy.bool_:
        return types.BOOLEAN
    if kind is numpy.datetime64:
        return types.TIMESTAMP
    return types.NUMBER if issubclass(kind, numpy.number) and kind is not numpy.timedelta64 else None


def type_from_dtype(dtype: Any) -> types.Type:
    """What `dtype` of a table or of `cast` means: a class, a list of them, a dict of them, or one constant value.

    Raises TypeError for a class that says too little (numpy.ndarray, which has no shape), as wandb does.
    """
    if isinstance(dtype, types.Type):
        return dtype
    if isinstance(dtype, type):
        return _type_from_class(dtype)
    if isinstance(dtype, list):
        if len(dtype) > 1:
            return compound.UnionType([type_from_dtype(each) for each in dtype])
        return compound.ListType(type_from_dtype(dtype[0])) if dtype else compound.ListType()
    if isinstance(dtype, dict):
        return compound.DictType({key: type_from_dtype(each) for key, each in dtype.items()})
    return types.ConstType(dtype)


def _type_from_class(dtype: type) -> types.Type:
    if issubclass(dtype, types.Type):
        return dtype()
    if dtype in _BARE:
        return _BARE[dtype]()
    own = getattr(dtype, "_bare_column_type", None)
    if own is not None:
        bare = own()
        assert isinstance(bare, types.Type)
        return bare
    if dtype.__module__.partition(".")[0] == "client" and dtype.__name__ in OBJECT_TYPES:
        return types.ObjectType(OBJECT_TYPES[dtype.__name__])
    bare_numpy = _bare_numpy_type(dtype)
    if bare_numpy is _ARRAY:
        raise TypeError("dtype=numpy.ndarray says no shape: leave dtype out, it is taken from the first row")
    return bare_numpy or types.PythonObjectType(dtype.__class__.__name__)


types.type_of = type_of
