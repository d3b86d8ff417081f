"""`run.config` as in wandb 0.31."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

import client
from client.errors import ConfigError, UsageError
from client.run import Run
from client.testing import RecordedRun
from tests.support.recording_session import recording
from tests.support.requirements import require_module


@pytest.fixture
def pair() -> Iterator[tuple[Run, RecordedRun]]:
    with recording() as recorded:
        run = client.init(project="p", config={"a": 1, "n": {"x": 1}})
        yield run, recorded.run


def test_it_reads_by_attribute_item_get_and_in(pair: tuple[Run, RecordedRun]) -> None:
    config = pair[0].config
    assert (config.a, config["a"], config.get("a"), config.get("z"), config.get("z", 3)) == (1, 1, 1, None, 3)
    assert "a" in config
    assert "z" not in config
    assert not hasattr(config, "z")
    assert config["n"]["x"] == 1
    assert list(config) == config.keys() == ["a", "n"]
    assert dict(config) == config.as_dict() == dict(config.items()) == {"a": 1, "n": {"x": 1}}
    assert repr(config) == "{'a': 1, 'n': {'x': 1}}"
    with pytest.raises(KeyError):
        config["z"]
    with pytest.raises(AttributeError, match="has no attribute 'z'"):
        config.z  # noqa: B018


def test_what_is_set_reaches_the_run(pair: tuple[Run, RecordedRun]) -> None:
    run, recorded = pair
    run.config.b = 2
    run.config["c"] = (3, {"d": None})
    run.config.update({"--e-f-": 4})
    run.config.setdefaults({"a": 9, "g": 5})
    expected = {"a": 1, "n": {"x": 1}, "b": 2, "c": [3, {"d": None}], "e-f": 4, "g": 5}
    assert run.config.as_dict() == recorded.config == expected


@pytest.mark.parametrize("change", [{"a": 2}, {"n": {"x": 2}}, {"n": {"y": 1}}])
def test_a_value_may_not_change_unless_it_is_said(pair: tuple[Run, RecordedRun], change: dict) -> None:
    run, recorded = pair
    with pytest.raises(ConfigError, match=r"pass allow_val_change=True to config.update"):
        run.config.update({"new": 1, **change})
    assert run.config.as_dict() == recorded.config == {"a": 1, "n": {"x": 1}}
    run.config.update(change, allow_val_change=True)
    assert run.config.as_dict() == recorded.config == {"a": 1, "n": {"x": 1}, **change}


def test_setting_the_same_value_again_is_no_change(pair: tuple[Run, RecordedRun]) -> None:
    run, _ = pair
    run.config.a = 1
    run.config.update({"n": {"x": 1}})


def test_a_dict_changed_in_place_is_sent_by_persist(pair: tuple[Run, RecordedRun]) -> None:
    run, recorded = pair
    run.config["n"]["x"] = 5
    assert recorded.config["n"] == {"x": 1}
    run.config.persist()
    assert recorded.config["n"] == {"x": 5}


@dataclasses.dataclass
class Options:
    lr: float = 0.1


def test_namespaces_and_dataclasses_and_configs_are_taken(pair: tuple[Run, RecordedRun]) -> None:
    run, recorded = pair
    run.config.update(argparse.Namespace(lr=0.1, name="x"))
    run.config.update(Options(lr=0.1))
    run.config.update(run.config)
    assert recorded.config == {"a": 1, "n": {"x": 1}, "lr": 0.1, "name": "x"}


@pytest.mark.parametrize("given", [None, [("a", 1)], 3])
def test_what_is_no_config_is_refused(pair: tuple[Run, RecordedRun], given: object) -> None:
    with pytest.raises(TypeError, match="config must be a dict or have a __dict__ attribute"):
        pair[0].config.update(given)


def test_a_key_that_is_no_str_is_refused(pair: tuple[Run, RecordedRun]) -> None:
    with pytest.raises(TypeError, match=r"use str\(1\)"):
        pair[0].config.update({1: 2})


def test_a_value_that_cannot_be_sent_is_not_kept_either(pair: tuple[Run, RecordedRun]) -> None:
    run, _ = pair
    with pytest.raises(TypeError, match="not JSON serializable"):
        run.config.bad = ...
    assert "bad" not in run.config


def test_after_finish_it_reads_and_refuses_changes(pair: tuple[Run, RecordedRun]) -> None:
    run, _ = pair
    run.finish(quiet=True)
    assert run.config.a == 1
    with pytest.raises(UsageError, match="is finished"):
        run.config.z = 1
    assert "z" not in run.config


def test_include_and_exclude_choose_keys() -> None:
    given = {"a": 1, "b": 2}
    with recording() as recorded:
        client.init(project="p", config=given, config_include_keys=["a"]).finish(quiet=True)
        client.init(project="p", config=given, config_exclude_keys=["a"]).finish(quiet=True)
    assert [run.config for run in recorded.runs] == [{"a": 1}, {"b": 2}]


def test_yaml_files_and_the_defaults_file_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_module("yaml")
    monkeypatch.chdir(tmp_path)
    Path("config-defaults.yaml").write_text("wandb_version: 1\nlr:\n  desc: rate\n  value: 0.1\nbatch:\n  value: 8\n")
    Path("mine.yaml").write_text("batch:\n  value: 16\n")
    with recording() as recorded:
        client.init(project="p", config="mine.yaml")
    assert recorded.run.config == {"lr": 0.1, "batch": 16}
    for text, says in (("lr: 0.1\n", "write `lr: "), ("- a\n", "must hold a mapping"), ("a: [\n", "Invalid YAML")):
        Path("bad.yaml").write_text(text)
        with pytest.raises(ConfigError, match=says):
            client.init(project="p", config="bad.yaml")
