"""Rows as they go to wandb-core: what protobuf and JSON make of the bytes that are laid out by hand."""

from __future__ import annotations

import json
import math
import struct
from types import SimpleNamespace
from typing import Any

import pytest
import wandb.proto.wandb_internal_pb2  # noqa: F401 - now: its temporary folders must not be made inside a test
from hypothesis import given
from hypothesis import strategies as st

from telemetryd.runs.wandb_private import HistoryBatch


def batch() -> HistoryBatch:
    client = SimpleNamespace(_writer=None, _drain_writer=None, _broken_exc=None)
    interface = SimpleNamespace(_client=client, _asyncer=SimpleNamespace(run=None), _stream_id="stream")
    return HistoryBatch(SimpleNamespace(_interface=interface))


def read(frame: bytes) -> tuple[int, dict[str, Any]]:
    """(step, values) of a frame for wandb-core's socket."""
    from wandb.proto import wandb_server_pb2

    magic, length = struct.unpack_from("<BI", frame)
    assert (magic, length) == (ord("W"), len(frame) - 5)
    request = wandb_server_pb2.ServerRequest.FromString(frame[5:])
    record = request.record_publish
    assert record._info.stream_id == "stream"
    history = record.request.partial_history
    assert history.action.flush
    return history.step.num, {item.key: json.loads(item.value_json) for item in history.item}


numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
anything = numbers | st.booleans() | st.none() | st.text() | st.just(float("inf")) | st.integers(2**64, 2**80)


@given(st.integers(0, 2**62), st.dictionaries(st.text(max_size=200), numbers) | st.dictionaries(st.text(), anything))
def test_every_value_arrives_as_it_was(step: int, data: dict[str, Any]) -> None:
    made = batch()
    made.add(step, 12.5, data)
    found_step, found = read(made._frames[0])
    wanted = {"_timestamp": 12.5} | data
    wanted.pop("_step", None)
    assert found_step == step
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        if isinstance(value, float) and not math.isfinite(value):
            assert found[key] in ("Infinity", "NaN", value)
        else:
            assert found[key] == value
            assert type(found[key]) is type(value), "an integer stays one"


def test_a_number_that_is_none_costs_the_others_nothing() -> None:
    made = batch()
    made.add(1, 1.0, {"loss": float("nan"), "step": 3, "rate": 0.1})
    _, found = read(made._frames[0])
    assert (found["step"], found["rate"]) == (3, 0.1)
    assert found["loss"] == "NaN" or math.isnan(found["loss"])


def test_what_cannot_be_encoded_is_refused_and_nothing_is_buffered() -> None:
    made = batch()
    with pytest.raises(TypeError):
        made.add(1, 1.0, {"a": 1.0, "b": object()})
    assert len(made) == 0
