"""`define_metric`: wandb's argument errors, and the record that reaches the run."""

from __future__ import annotations

import pytest

import client
from client.errors import Error
from client.protocol.records import Metric
from tests.support.recording_session import recording


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": ""}, "requires non-empty name"),
        ({"name": None}, "requires non-empty name"),
        ({"name": 3}, "name type: int; it must be str"),
        ({"name": "a", "step_metric": 3}, "step_metric type: int"),
        ({"name": "a", "step_sync": 1}, "step_sync type: int; it must be bool"),
        ({"name": "a", "hidden": "x"}, "hidden type: str"),
        ({"name": "a", "summary": ["min"]}, "summary type: list"),
        ({"name": "a", "overwrite": 1}, "overwrite type: int"),
        ({"name": "a*b"}, "glob suffixes only"),
        ({"name": "a**"}, "glob suffixes only"),
        ({"name": "a", "summary": "best"}, "summary op: best; known, joined by commas only: first, last, max"),
        ({"name": "a", "summary": "min, max"}, "summary op:  max"),
    ],
)
def test_wrong_arguments_say_what_is_allowed(arguments: dict, says: str) -> None:
    with recording() as recorded:
        run = client.init(project="p")
        with pytest.raises(Error, match=says):
            run.define_metric(**arguments)
    assert recorded.run.metrics == []


def test_an_argument_that_wandb_has_not_is_refused() -> None:
    with recording(), pytest.raises(TypeError, match="goal"):
        client.init(project="p").define_metric("a", goal="maximize")  # type: ignore[call-arg]


def test_a_metric_can_be_anothers_axis() -> None:
    with recording() as recorded:
        run = client.init(project="p")
        epoch = run.define_metric("epoch", hidden=True)
        metric = run.define_metric("val/*", step_metric=epoch, summary="MIN,last")
        assert (metric.name, metric.step_metric, metric.step_sync, metric.summary) == (
            "val/*", "epoch", True, ("min", "last"),
        )  # fmt: skip
        run.define_metric("x", step_sync=False, overwrite=True)
    assert recorded.run.metrics == [
        Metric(name="epoch", hidden=True),
        Metric(name="val/*", step_metric="epoch", summary="min,last"),
        Metric(name="x", step_sync=False, overwrite=True),
    ]
