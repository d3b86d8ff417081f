"""A value captured here and handed to wandb by the daemon is stored as if the script had given it to wandb.

wandb's own encoders make both sides: of the value itself, and of what comes out of the journal for it.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import math
import pathlib
import uuid
from typing import Any

import msgspec
import numpy as np
import pytest

import client
from client.protocol.records import Array, decode_ext
from client.summary import as_shown
from client.values import config_value, encode_row_data, summary_value
from tests.support.recording_session import recording
from tests.support.requirements import require_module

torch = require_module("torch")
util = require_module("wandb.util")


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 3


class Word(str, enum.Enum):
    YES = "y"


class MyFloat(float):
    pass


class MyInt(int):
    pass


class MyStr(str):
    pass


class MyDict(dict):
    pass


@dataclasses.dataclass
class Point:
    x: int = 1
    y: str = "b"


Pair = collections.namedtuple("Pair", "x y")


def function() -> None: ...


PLAIN: dict[str, Any] = {
    "int": 1,
    "negative zero": -0.0,
    "bool": True,
    "none": None,
    "str": "é",
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "largest int64": 2**63 - 1,
    "smallest int64": -(2**63),
    "2**63": 2**63,
    "2**64": 2**64,
    "2**70": 2**70,
    "-2**70": -(2**70),
    "list": [1, "a", None, 2.5, math.nan, [2**70]],
    "tuple": (1, 2),
    "set": {1},
    "frozenset": frozenset([1]),
    "deque": collections.deque([1]),
    "bytes": b"abc",
    "nested": {"a": 1, "b": {"c": 2, "big": 2**70}},
    "list of dicts": [{1: 2}, {"a": [1]}],
    "enum": Colour.RED,
    "int enum": Level.HIGH,
    "str enum": Word.YES,
    "float subclass": MyFloat(1.5),
    "int subclass": MyInt(5),
    "str subclass": MyStr("s"),
    "dict subclass": MyDict(a=1),
    "ordered dict": collections.OrderedDict(a=1),
    "counter": collections.Counter("aab"),
    "named tuple": Pair(1, 2),
    "dataclass": Point(),
    "dataclass in dict": {"p": Point()},
    "class": Point,
    "function": function,
    "builtin": len,
    "datetime": datetime.datetime(2020, 1, 2, 3, 4, 5, 6),
    "utc datetime": datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
    "date": datetime.date(2020, 1, 2),
    "time": datetime.time(1, 2),
    "days": datetime.timedelta(1),
    "path": pathlib.Path("/a"),
    "uuid": uuid.UUID(int=1),
    "decimal": decimal.Decimal("1.5"),
    "fraction": fractions.Fraction(1, 2),
    "complex": 1 + 2j,
    "imaginary": 1j,
}
NUMPY: dict[str, Any] = {
    **{
        f"np.{name}": np.dtype(name).type(1)
        for name in np.sctypeDict
        if isinstance(name, str)
        and name
        in (
            "int8",
            "int16",
            "int32",
            "int64",
            "uint8",
            "uint16",
            "uint32",
            "uint64",
            "float16",
            "float32",
            "float64",
            "longdouble",
            "bool",
            "complex64",
            "complex128",
        )
    },
    "np.float32(0.1)": np.float32(0.1),
    "np.float16(0.1)": np.float16(0.1),
    "np nan": np.float32("nan"),
    "np.float64 nan": np.float64("nan"),
    "np longdouble nan": np.longdouble("nan"),
    "np inf": np.float32("inf"),
    "np.uint64 max": np.uint64(2**64 - 1),
    "np str": np.str_("s"),
    "np bytes": np.bytes_(b"s"),
    "np date": np.datetime64("2020-01-02"),
    "np ns": np.datetime64("2020-01-02T00:00:00", "ns"),
    "0-d": np.array(1.5),
    "1 element": np.array([2.5]),
    "1x1": np.array([[3]]),
    "nan element": np.array([math.nan]),
    "3": np.arange(3),
    "2x2": np.ones((2, 2)),
    "32": np.arange(32),
    "33": np.arange(33),
    "100 float32": np.arange(100, dtype=np.float32),
    "100 big-endian": np.arange(100, dtype=">f4"),
    "50 bool": np.array([True, False] * 25),
    "transposed": np.arange(100, dtype=np.int16).reshape(4, 25).T,
    "strided": np.arange(200.0)[::2],
    "longdoubles": np.linspace(0, 1, 40, dtype=np.longdouble),
    "empty": np.array([]),
    "with nan": np.array([1, math.nan]),
    "objects": np.array([1, "a"], dtype=object),
    "strings": np.array(["a", "b"]),
    "bools": np.array([True, False]),
    "dates": np.array(["2020-01-01"] * 2, dtype="datetime64[D]"),
    "complexes": np.ones(2, dtype=complex),
    "masked": np.ma.array([1, 2], mask=[0, 1]),
    "list of scalars": [np.float32(1.5), np.int64(2)],
    "list of arrays": [np.arange(3)],
    "dict of arrays": {"a": {"b": np.arange(3)}},
}
TORCH: dict[str, Any] = {
    "tensor": torch.tensor(1.5),
    "int tensor": torch.tensor(3),
    "bool tensor": torch.tensor(True),
    "bfloat16": torch.tensor(0.1, dtype=torch.bfloat16),
    "half": torch.tensor(0.1, dtype=torch.half),
    "tensor nan": torch.tensor(math.nan),
    "with gradient": torch.tensor(1.5, requires_grad=True),
    "one": torch.tensor([2.5]),
    "three": torch.arange(3),
    "three halves": torch.ones(3, dtype=torch.half),
    "forty": torch.arange(40.0),
    "forty ints": torch.arange(40),
    "forty transposed": torch.arange(40.0).reshape(4, 10).T,
    "no elements": torch.tensor([]),
    "complex tensor": torch.tensor(1 + 2j),
    "size": torch.Size([1, 2]),
}
VALUES = {**PLAIN, **NUMPY, **TORCH}


def as_daemon_gives_it(value: Any) -> Any:
    """What the run worker hands to wandb for a decoded value."""
    if isinstance(value, Array):
        return np.frombuffer(value.raw, dtype=value.dtype).reshape(value.shape)
    if isinstance(value, dict):
        return {key: as_daemon_gives_it(item) for key, item in value.items()}
    return [as_daemon_gives_it(item) for item in value] if isinstance(value, list) else value


def through_the_journal(value: Any) -> Any:
    decoded = msgspec.msgpack.decode(encode_row_data({"key": value}), ext_hook=decode_ext)
    return as_daemon_gives_it(decoded["key"])


def same(ours: str, wandbs: str) -> bool:
    return ours == wandbs or repr(json.loads(ours)) == repr(json.loads(wandbs))


@pytest.mark.parametrize("name", VALUES)
def test_history_stores_the_value_as_wandb_does(name: str) -> None:
    wandbs = util.json_dumps_safer_history(VALUES[name])
    ours = util.json_dumps_safer_history(through_the_journal(VALUES[name]))
    assert same(ours, wandbs), f"{ours} != {wandbs}"


SHOWN_AS_NONE = ("np longdouble nan", "tensor nan")
"""wandb shows NaN and stores null; here it is None in both places."""


@pytest.mark.parametrize("name", VALUES)
def test_config_stores_and_shows_the_value_as_wandb_does(name: str) -> None:
    shown = util.json_friendly_val(VALUES[name])
    if name not in SHOWN_AS_NONE:
        assert repr(config_value(VALUES[name])) == repr(shown)
    ours = util.json_dumps_safer(util.json_friendly_val(through_the_journal(config_value(VALUES[name]))))
    assert same(ours, util.json_dumps_safer(util.json_friendly(shown)[0]))


def wandbs_summary(value: Any) -> str:
    from wandb.sdk.interface.interface import InterfaceBase
    from wandb.sdk.lib import json_util

    class Encoder(InterfaceBase):
        def __init__(self) -> None: ...

    Encoder.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]
    encoded, _ = util.json_friendly(Encoder()._summary_encode(value, "key", run="a run"))
    return json_util.dumps(encoded, cls=util.WandBJSONEncoderOld)


NO_SUMMARY = ("50 bool",)  # wandb raises: it subtracts booleans


@pytest.mark.parametrize("name", [name for name in VALUES if name not in NO_SUMMARY])
def test_summary_stores_the_value_as_wandb_does(name: str) -> None:
    wandbs = wandbs_summary(VALUES[name])
    encoded = msgspec.msgpack.encode(summary_value(VALUES[name]))
    ours = wandbs_summary(as_daemon_gives_it(msgspec.msgpack.decode(encoded, ext_hook=decode_ext)))
    if isinstance(VALUES[name], torch.Tensor):
        ours = ours.replace("numpy.ndarray", "torch.Tensor")
    assert same(ours, wandbs), f"{ours} != {wandbs}"


@pytest.mark.parametrize("name", [name for name in PLAIN if name not in ("2**63", "2**64", "2**70", "-2**70")])
def test_a_summary_value_set_by_hand_reads_back_as_from_wandb(name: str) -> None:
    if name in ("utc datetime", "bytes"):
        pytest.skip("wandb keeps the text in another form on its way")
    wandbs = json.loads(wandbs_summary(PLAIN[name]))
    assert repr(as_shown(summary_value(PLAIN[name]))) == repr(wandbs)


REFUSED: dict[str, Any] = {
    "range": range(3),
    "object": object(),
    "ellipsis": ...,
    "module": math,
    "slice": slice(1, 2),
    "exception": ValueError("x"),
    "dtype": torch.float32,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_wandb_refuses_to_log_is_refused_with_the_same_error(name: str) -> None:
    with pytest.raises(TypeError) as wandbs:
        util.json_dumps_safer_history(REFUSED[name])
    with recording() as recorded, pytest.raises(TypeError) as ours:
        client.init(project="p").log({"key": REFUSED[name]})
    assert str(ours.value).startswith(str(wandbs.value))
    assert recorded.run.calls == []


def test_a_container_that_contains_itself_is_refused_with_the_same_error() -> None:
    circle: list = []
    circle.append(circle)
    for encode in (util.json_dumps_safer_history, lambda value: encode_row_data({"key": value})):
        with pytest.raises(ValueError, match="Circular reference detected"):
            encode(circle)


def test_an_unpaired_surrogate_becomes_the_replacement_character_as_in_wandb() -> None:
    assert through_the_journal({"a\ud800b": ["\udcff"]}) == {"a\ufffdb": ["\ufffd"]}


def test_arrays_that_wandb_cannot_make_a_histogram_of_are_refused_at_the_call() -> None:
    for value in (np.array(["a"] * 40), np.ones(40, dtype=complex)):
        with pytest.raises(TypeError, match="has no histogram"):
            encode_row_data({"key": value})


@pytest.mark.parametrize(
    "value", [torch.ones(3, dtype=torch.bfloat16), torch.nn.Parameter(torch.ones(3)), torch.eye(2).to_sparse()]
)
def test_tensors_that_wandb_cannot_take_are_kept_all_the_same(value: Any) -> None:
    assert through_the_journal(value) == value.detach().to_dense().float().tolist()
