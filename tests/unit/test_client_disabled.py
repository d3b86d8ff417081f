"""`mode="disabled"`: the same surface, and nothing behind it."""

from __future__ import annotations

import inspect
import threading

import pytest

import client
from client.disabled_run import DisabledRun
from client.run import Run
from tests.support.recording_session import recording


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_it_has_every_public_name_of_a_run_and_no_other() -> None:
    with recording():
        real = client.init(project="p")
        disabled = client.init(mode="disabled")
        assert {name for name in dir(disabled) if not name.startswith("_")} == {
            name for name in dir(real) if not name.startswith("_")
        }


@pytest.mark.parametrize("name", sorted(name for name in public(Run) if callable(getattr(Run, name))))
def test_its_methods_take_the_same_arguments(name: str) -> None:
    ours = inspect.signature(getattr(DisabledRun, name)).parameters.values()
    runs = inspect.signature(getattr(Run, name)).parameters.values()
    assert [(p.name, p.kind) for p in ours] == [(p.name, p.kind) for p in runs]


def test_nothing_is_opened_and_everything_works() -> None:
    threads = threading.active_count()
    with recording() as recorded:
        with client.init(mode="disabled", config={"lr": 1}) as run:
            assert client.run is run
            client.log({"a": {"b": 1}}, step=3)
            run.define_metric("a", summary="max")
            assert run.log_artifact("x").wait().anything is not None
            run.watch(object())
            assert run.save("x") is False
            assert run.summary.a.b == 1
            assert client.config.lr == 1
            assert run.disabled
            assert not run.offline
            assert (run.url, run.step, run.name, run.project) == (None, 0, f"dummy-{run.id}", "dummy")
            assert run.path == f"dummy/dummy/{run.id}"
            assert str(run.finish()) == "telemetryd: the run is disabled; nothing was recorded"
        assert client.run is None
    assert recorded.runs == []
    assert threading.active_count() == threads


def test_a_wrong_call_is_wrong_here_too() -> None:
    with pytest.raises(TypeError, match="must be passed a dictionary"):
        client.init(mode="disabled").log(3)  # type: ignore[arg-type]
    client.finish()


def test_the_environment_disables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run = client.init(project="p")
    assert run.disabled
    run.finish()
