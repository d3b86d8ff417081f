"""What a logged value becomes: captured at the call, in the form that makes wandb store what it would have stored.

Three places keep values differently in wandb, and so here:

    history   `encode_row_data`   the data of one `log` call, straight to msgpack bytes
    summary   `summary_value`     enumerations by name
    config    `config_value`      plain Python objects; what has no such form becomes its str

Invariants
* Nothing returned refers to the caller's objects: the caller may change them on the next line.
* What wandb refuses with a TypeError is refused here, at the call. numpy and torch are recognised through sys.modules.
* No value is fetched from a device except by `from_device`.
"""

from __future__ import annotations

import collections
import datetime
import enum
import ipaddress
import pathlib
import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from client import fastlog, tensors
from client.media import figures
from client.media.base import WBValue
from client.protocol.records import EXT_BIG_INT

Ext = msgspec.msgpack.Ext

_INT_MIN, _INT_MAX = -(1 << 63), (1 << 64) - 1
_INSTEAD = {"pandas.": "log its numbers, or a list of them", "PIL.": "log Image(picture)"}


class RichValueError(Exception):
    """Not an error of the caller's: there is a media value in what was to be encoded, which is for rich.py."""


def encode_row_data(data: dict[str, Any]) -> bytes:
    """The msgpack map of a `log` call's data. Raises as `encode_values`."""
    return encode_values(data)


def encode_values(data: Any) -> bytes:
    """The msgpack of dicts, lists and what may be in them.

    Raises TypeError for a value that wandb cannot store either, ValueError for a container that contains itself.
    """
    try:
        return _encode(data)
    except (OverflowError, UnicodeEncodeError):
        return _encode(portable(data))
    except RecursionError:
        raise ValueError(
            "Circular reference detected: a logged dict or list contains itself, or is nested too deep"
        ) from None


def summary_value(value: Any) -> Any:
    """A value for `run.summary`, ready for the wire. Raises TypeError as `encode_row_data`, and for keys not str."""
    return summary_value_by(value, encode_row_data)


def summary_value_by(value: Any, encode: Callable[[Any], bytes]) -> Any:
    """`summary_value` with another encoder for what is no dict."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"keys within a summary value must be str, not {type(key).__name__}: use str({key!r})")
        return {key: summary_value_by(item, encode) for key, item in value.items()}
    if isinstance(value, enum.Enum):
        return value.name
    return msgspec.Raw(encode(value))


def config_value(value: Any) -> Any:
    """A value for `run.config`: None, bool, int, float, str, list and dict, as `run.config` shows it afterwards."""
    if isinstance(value, dict):
        return {key: config_value(item) for key, item in value.items()}
    if isinstance(value, slice):
        return {"slice_start": value.start, "slice_step": value.step, "slice_stop": value.stop}
    if tensors.is_array(value):
        value = tensors.config_form(value)
    value = _config_leaf(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [config_value(item) for item in value]
    if is_dataclass(value):
        return config_value(_as_dict(value))
    return value if type(value).__module__ == "builtins" else str(value)


def is_dataclass(value: Any) -> bool:
    """Whether it is an instance of one, as `dataclasses` tells it, without loading that."""
    return hasattr(type(value), "__dataclass_fields__")


def _as_dict(value: Any) -> dict[str, Any]:
    import dataclasses

    return dataclasses.asdict(value)


def _config_leaf(value: Any) -> Any:
    if tensors.is_numpy_scalar(value):
        value = bytes(value) if isinstance(value, bytes) else tensors.scalar(value)
        return None if isinstance(value, float) and value != value else value
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, datetime.date):  # and so datetime
        return value.isoformat()
    if callable(value):
        return _name_of(value)
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, set):
        return tuple(value)
    if isinstance(value, enum.Enum):
        return value.name
    return value


def _name_of(value: Any) -> str:
    if hasattr(value, "__qualname__") and hasattr(value, "__module__"):
        return f"{value.__module__}.{value.__qualname__}"
    return str(value)


def _exact_str(value: Any) -> str:
    return str.__str__(value)


def _complex(value: complex) -> str:
    return str(complex(value)).strip("()")


_BY_BASE: list[tuple[type, Callable[[Any], Any]]] = [
    (float, float.__float__),
    (int, int.__int__),
    (str, _exact_str),
    (bytes, lambda value: value.decode("utf-8")),
    (collections.deque, list),
    (types.GeneratorType, list),
    (pathlib.PurePath, str),
    (complex, _complex),
    (re.Pattern, lambda value: value.pattern),
    (ipaddress._BaseAddress, str),
    (ipaddress._BaseNetwork, str),
]
_by_type: dict[type, Callable[[Any], Any]] = {}
_TYPES_KEPT = 1000  # a program that makes classes without end must not fill this


def hook(value: Any) -> Any:
    """What msgspec does not know itself: numpy, torch, subclasses of str, int and float, and the rest."""
    try:
        capture = _by_type[type(value)]
    except KeyError:
        capture = _capture_for(value)
        if len(_by_type) < _TYPES_KEPT:
            _by_type[type(value)] = capture
    return capture(value)


def _capture_for(value: Any) -> Callable[[Any], Any]:
    if isinstance(value, WBValue):
        return _leave_to_rich
    if tensors.is_torch(value):
        if fastlog.Scalars is not None and tensors.is_readable_as(type(value)):
            _hook.know(type(value))
        return _tensor_form
    if tensors.is_array(value):
        return _array_form
    is_numpy = tensors.is_numpy_scalar(value)
    if is_numpy and (kind := tensors.scalar_type(value)) is not None:
        return kind  # before its bases: numpy.float64 is a float, which `float` makes plain twice as fast as its method
    for base, capture in _BY_BASE:
        if isinstance(value, base):
            return capture
    if is_numpy:
        return tensors.scalar
    if tensors.is_fraction(value):
        return str
    if hasattr(value, "model_dump") and hasattr(type(value), "model_fields"):  # pydantic's own models
        return lambda model: model.model_dump()
    if callable(value):
        return _name_of
    return _refuse


def _tensor_form(value: Any) -> Any:
    if value.is_cpu and value.numel() == 1:  # most are a loss or a metric
        return value.item()
    return _array_form(value)


def _array_form(value: Any) -> Any:
    if tensors.is_large(value):  # one copy onto a shelf is cheaper than several into the row
        raise RichValueError
    return tensors.history_form(value)


def _leave_to_rich(value: Any) -> Any:
    raise RichValueError


def _refuse(value: Any) -> Any:
    name = figures.type_name(value)
    if (
        figures.is_matplotlib(value)
        or figures.is_plotly(value)
        or (name.startswith("pandas.") and hasattr(value, "columns"))
    ):
        raise RichValueError
    for prefix, instead in _INSTEAD.items():
        if name.startswith(prefix):
            raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable: {instead}")
    raise TypeError(
        f"Object of type {type(value).__name__} is not JSON serializable:"
        " log numbers, str, lists, dicts or arrays of them, or str(value)"
    )


def portable(value: Any, depth: int = 0) -> Any:
    """A copy with integers beyond 64 bits as extension values and unpaired surrogates replaced."""
    if depth > sys.getrecursionlimit() // 4:
        raise ValueError("Circular reference detected: a logged dict or list contains itself, or is nested too deep")
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace").replace("\ufffd" * 3, "\ufffd")
    if isinstance(value, int) and not _INT_MIN <= value <= _INT_MAX:
        return Ext(EXT_BIG_INT, str(int(value)).encode("ascii"))
    if isinstance(value, Mapping):
        return {_portable_key(key): portable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, collections.deque)):
        return [portable(item, depth + 1) for item in value]
    if isinstance(value, enum.Enum):
        return portable(value.value, depth + 1)
    if is_dataclass(value):
        return portable(_as_dict(value), depth + 1)
    return value


def _portable_key(key: Any) -> Any:
    if isinstance(key, int) and not _INT_MIN <= key <= _INT_MAX:
        return str(int(key))
    return portable(key, 0) if isinstance(key, str) else key


_hook: Any = hook if fastlog.Scalars is None else fastlog.Scalars(hook)
_encode = msgspec.msgpack.Encoder(enc_hook=_hook).encode
encode_plainly: Callable[[Any], bytes] = _encode if fastlog.Rows is None else fastlog.Rows(_hook, _encode)
"""`encode_row_data` without its help for integers beyond 64 bits, unpaired surrogates and circular containers."""
