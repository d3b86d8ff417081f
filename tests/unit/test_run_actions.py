"""`alert`, `mark_preempting`, `pin_config_keys`, `status`, `to_html`: wandb's arguments, and what reaches the run."""

from __future__ import annotations

import datetime
import inspect

import pytest

import client
from client.protocol.messages import Report
from client.protocol.records import Alert, Pins, Preempting
from client.run import Run
from client.run_actions import RunStatus
from tests.support.recording_session import recording
from tests.support.requirements import require_module


@pytest.mark.parametrize(
    ("arguments", "level", "wait_ms"),
    [
        ({}, "INFO", 60_000),
        ({"level": "WARN", "wait_duration": 3}, "WARN", 3000),
        ({"level": client.AlertLevel.ERROR, "wait_duration": 0.5}, "ERROR", 500),
        ({"wait_duration": datetime.timedelta(minutes=5)}, "INFO", 300_000),
        ({"wait_duration": 0}, "INFO", 60_000),
    ],
)
def test_an_alert_reaches_the_run_with_wandbs_level_and_wait(arguments: dict, level: str, wait_ms: int) -> None:
    with recording() as recorded:
        client.init(project="p")
        client.alert("title", "text", **arguments)
    (alert,) = [record for record in recorded.run.session.records if isinstance(record, Alert)]
    assert (alert.title, alert.text, alert.level, alert.wait_ms) == ("title", "text", level, wait_ms)
    assert alert.time_ns > 1e18


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"level": "FATAL"}, ValueError, "level must be one of 'INFO', 'WARN', or 'ERROR'"),
        ({"wait_duration": "a minute"}, TypeError, "wait_duration must be an int, float, or datetime.timedelta"),
        ({"text": 3}, TypeError, r"alert\(text=...\) must be a str"),
    ],
)
@pytest.mark.parametrize("mode", ["online", "disabled"])
def test_a_wrong_alert_raises_as_in_wandb(mode: str, arguments: dict, error: type[Exception], says: str) -> None:
    with recording(), pytest.raises(error, match=says):
        client.init(project="p", mode=mode).alert(**{"title": "t", "text": "x", **arguments})  # type: ignore[arg-type]


def test_the_levels_are_wandbs() -> None:
    theirs = require_module("wandb").AlertLevel
    assert {level.name: level.value for level in client.AlertLevel} == {level.name: level.value for level in theirs}


def test_preemption_and_pins_are_records() -> None:
    with recording() as recorded:
        client.init(project="p", config={"lr": 1})
        client.mark_preempting()
        client.pin_config_keys(["lr", "seed"])
    kinds = [record for record in recorded.run.session.records if isinstance(record, (Preempting, Pins))]
    assert kinds == [Preempting(), Pins(["lr", "seed"])]


@pytest.mark.parametrize("call", ["alert", "mark_preempting", "pin_config_keys", "status", "watch"])
def test_after_finish_they_raise_as_in_wandb(call: str) -> None:
    with recording():
        run = client.init(project="p")
        run.finish()
        arguments = {"alert": ("t", "x"), "watch": (None,)}.get(call, ())
        with pytest.raises(client.UsageError, match=rf"is finished. The call to `{call}` will be ignored"):
            getattr(run, call)(*arguments)


def test_status_tells_how_far_delivery_is_without_waiting() -> None:
    with recording() as recorded:
        run = client.init(project="p")
        run.log({"a": 1})
        run.log({"a": 2})
        recorded.run.session.say(Report("s", "running", offered=2, delivered=1, pending=1))
        status = run.status()
    assert (status.sync_items_total, status.sync_items_pending) == (2, 1)
    assert client.init(mode="disabled").status() == RunStatus()
    client.finish()


def test_html_is_wandbs_iframe_where_the_url_is_known() -> None:
    with recording() as recorded:
        run = client.init(project="p")
        assert run.to_html() == f"&lt;Run p/{run.id} (active)&gt;"
        recorded.run.session.say(Report("s", "running", url="https://w/e/p/runs/x"))
        assert run.to_html(height=100) == (
            "<iframe src='https://w/e/p/runs/x?jupyter=true' style='border:none;width:100%;height:100px;'></iframe>"
        )
        assert "display:none;" in run.to_html(hidden=True)
        assert run._repr_mimebundle_()["text/html"] == run.to_html(hidden=True)
        assert run.display() is False, "this is no notebook"


@pytest.mark.parametrize("name", sorted(name for name in dir(Run) if not name.startswith("_") and name != "finish"))
def test_methods_take_wandbs_arguments(name: str) -> None:
    theirs = getattr(require_module("wandb").Run, name, None)
    ours = getattr(Run, name)
    if theirs is None or not callable(ours):
        return
    given = inspect.signature(ours).parameters.values()
    parameters = [one.name for one in given if one.kind is not one.KEYWORD_ONLY]  # a timeout of ours is named by name
    if parameters != ["self", "args", "kwargs"]:  # those that are not there yet
        assert parameters == list(inspect.signature(theirs).parameters)
