"""wandb's module beside the run: errors, terminal messages, `setup`, `login`, `require`, `util`, and missing names."""

from __future__ import annotations

import argparse
import inspect
import json
import logging
from pathlib import Path
from typing import Any

import pytest

import client
from client import errors, process_wide, term, util
from client.errors import ConfigError, MissingFeatureError, UnsupportedError
from client.names import NEVER
from client.run import Run
from tests.support.recording_session import recording
from tests.support.requirements import require_module


@pytest.fixture(autouse=True)
def nothing_given_to_setup() -> Any:
    yield
    process_wide.forget()
    term.termsetup(client.Settings(), None)
    term._printed.clear()


@pytest.mark.parametrize(
    "name",
    ["Error", "CommError", "AuthenticationError", "UsageError", "UnsupportedError", "WandbCoreNotAvailableError"],
)
def test_the_errors_of_wandb_are_here_with_wandbs_bases_and_arguments(name: str) -> None:
    wandb = require_module("wandb")
    theirs, ours = getattr(wandb.errors, name), getattr(client.errors, name)
    mro = [kind.__name__ for kind in theirs.__mro__]
    assert [kind.__name__ for kind in ours.__mro__] == mro
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)
    assert ours("what").message == "what"


def test_comm_error_has_its_cause_and_error_its_context() -> None:
    cause = OSError("no")
    assert errors.CommError("m", cause).exc is cause
    assert errors.Error("m", {"a": 1}).context == {"a": 1}
    assert errors.UsageError("m").context == {}


@pytest.mark.parametrize("name", sorted(NEVER))
def test_a_name_that_cannot_work_says_so_and_what_to_use(name: str) -> None:
    assert not hasattr(client, name)
    with pytest.raises(
        MissingFeatureError, match=rf"wandb.{name} cannot be had in the training process: \w.*"
    ) as raised:
        getattr(client, name)
    assert isinstance(raised.value, AttributeError)
    assert isinstance(raised.value, UnsupportedError)


@pytest.mark.parametrize("name", ["api_key", "default_entity", "viewer"])
def test_the_account_is_the_daemons(name: str) -> None:
    assert not hasattr(client.api, name)  # type: ignore[attr-defined]
    with pytest.raises(MissingFeatureError, match=r"are the daemon's; use run\.entity"):
        getattr(client.api, name)  # type: ignore[attr-defined]


def test_a_name_that_wandb_has_not_either_is_just_missing() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'") as raised:
        client.nothing  # noqa: B018
    assert not isinstance(raised.value, UnsupportedError)


def test_before_init_functions_say_so_and_show_the_methods_help() -> None:
    for name in ("log", "watch", "alert", "mark_preempting", "pin_config_keys"):
        function = getattr(client, name)
        with pytest.raises(client.Error, match=rf"You must call wandb.init\(\) before wandb.{name}\(\)"):
            function()
        assert function.__doc__ == getattr(Run, name).__doc__
        assert inspect.signature(function) == inspect.signature(getattr(Run, name))
    with pytest.raises(client.Error, match=r"before wandb.config.lr"):
        client.config.lr = 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: term.termlog("a\nb"), "wandb: a\nwandb: b\n"),
        (lambda: term.termlog("a", newline=False), "wandb: a"),
        (lambda: term.termlog("a", prefix=False), "a\n"),
        (lambda: term.termwarn("a\nb"), "wandb: WARNING a\nwandb: WARNING b\n"),
        (lambda: term.termerror("a"), "wandb: ERROR a\n"),
        (lambda: [term.termlog("a", repeat=False) for _ in range(3)], "wandb: a\n"),
    ],
)
def test_terminal_messages_are_wandbs(call: Any, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    call()
    assert capsys.readouterr().err == said


def test_terminal_messages_are_those_of_the_real_wandb(capsys: pytest.CaptureFixture[str]) -> None:
    real = require_module("wandb")
    for name in ("termlog", "termwarn", "termerror"):
        getattr(real, name)("one\ntwo")
        theirs = capsys.readouterr().err
        getattr(client, name)("one\ntwo")
        assert capsys.readouterr().err == theirs


def test_what_is_silenced_goes_to_the_logger(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    client.termsetup(client.Settings(show_warnings=False), logging.getLogger("t"))
    client.termlog("shown")
    with caplog.at_level(logging.INFO, "t"):
        client.termwarn("hidden")
    assert capsys.readouterr().err == "wandb: shown\n"
    assert caplog.messages == ["wandb: WARNING hidden"]


def test_setup_gives_settings_to_every_later_run_and_teardown_takes_them_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "of the environment")
    with recording() as recorded:
        assert client.setup(client.Settings(project="s", run_group="g")).settings.project == "s"
        client.init()
        client.init(reinit="create_new", settings={"run_group": "own"}, project="argument")
        client.teardown(exit_code=3)
        client.init()
        client.finish()
    first, second, third = (run.spec for run in recorded.runs)
    assert (first.project, first.group) == ("s", "g")
    assert (second.project, second.group) == ("argument", "own")
    assert (third.project, third.group) == ("of the environment", None)
    assert [run.exit_code for run in recorded.runs] == [3, 3, 0]


@pytest.mark.parametrize("values", [{"mode": "bogus"}, {"run_id": "a/b"}, {"resume": "perhaps"}, {"run_tags": [""]}])
def test_settings_refuse_what_wandbs_refuse(values: dict) -> None:
    real = require_module("wandb")
    with pytest.raises((ValueError, real.UsageError)):
        real.Settings(**values)
    with pytest.raises(client.UsageError):
        client.Settings(**values)
    with pytest.raises(ValueError, match="unknown setting 'nonsense'"):
        client.Settings(nonsense=1)


def test_login_sends_no_key_anywhere_and_says_where_to_give_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.login() is True
    assert client.login(key="k" * 40, host="http://w", relogin=True, verify=False, prompt=False) is True
    said = capsys.readouterr().err
    assert "login(key and host=...) is ignored" in said
    assert "`telemetryd login`" in said
    assert "k" * 40 not in said
    with recording():
        client.init(project="p")
        assert client.login() is False
    for mode in ("offline", "disabled"):
        monkeypatch.setenv("WANDB_MODE", mode)
        assert client.login() is False


@pytest.mark.parametrize(
    "name", ["login", "setup", "teardown", "require", "termlog", "termwarn", "termerror", "termsetup"]
)
def test_functions_take_wandbs_arguments(name: str) -> None:
    real = require_module("wandb")
    theirs = [(p.name, p.kind) for p in inspect.signature(getattr(real, name)).parameters.values()]
    assert [(p.name, p.kind) for p in inspect.signature(getattr(client, name)).parameters.values()] == theirs


def test_require_takes_what_wandb_takes() -> None:
    client.require("core")
    client.require(["service", "require"])
    client.require(experiment="service@beta")
    client.require()
    client.ensure_configured()
    with pytest.raises(UnsupportedError, match="unsupported requirement: teleport"):
        client.require("teleport")


def test_util_has_what_scripts_use_of_it() -> None:
    real = require_module("wandb").util
    assert client.util is util
    assert len(util.generate_id()) == 8
    assert len(util.generate_id(20)) == 20
    assert util.generate_id().isalnum()
    for name in ("a b/c:d", "x" * 300, "fine-1.0"):
        assert util.make_artifact_name_safe(name) == real.make_artifact_name_safe(name)
    assert util.get_module("json") is json
    assert util.get_module("no_such_module") is None
    with pytest.raises(errors.Error, match="please"):
        util.get_module("no_such_module", required="please")
    assert not hasattr(util, "json_friendly")
    with pytest.raises(MissingFeatureError, match=r"client.util has .*generate_id"):
        util.json_friendly  # noqa: B018


# Config beyond test_client_config.py.


def test_locked_keys_ignore_later_changes_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    with recording() as recorded:
        config = client.init(project="p", config={"lr": 1, "n": {"a": 1, "b": 2}}).config
        config.update_locked({"lr": 3}, "sweep", _allow_val_change=True)
        config.merge_locked({"n": {"b": 9}}, "sweep", _allow_val_change=True)
        config.lr = 4
        config["lr"] = 5
        config.update({"lr": 6, "other": 7}, allow_val_change=True)
        assert config.as_dict() == recorded.run.config == {"lr": 3, "n": {"a": 1, "b": 9}, "other": 7}
    assert "Config item 'lr' was locked by 'sweep' (ignored update)." in capsys.readouterr().err


def test_config_static_is_a_copy_that_cannot_be_changed() -> None:
    with recording():
        run = client.init(project="p", config={"lr": 1})
        static = run.config_static
        run.config.x = 2
        assert (static.lr, static["lr"], dict(static), str(static)) == (1, 1, {"lr": 1}, "{'lr': 1}")
        with pytest.raises(AttributeError, match="readonly"):
            static.lr = 2
        with pytest.raises(AttributeError, match="readonly"):
            static["lr"] = 2


def test_config_files_of_the_environment_and_of_setup_win_as_in_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config-defaults.yaml").write_text("wandb_version: 1\nlr: {value: 1}\ndefault: {desc: null, value: 2}\n")
    Path("a.yaml").write_text("lr: {value: 3}\na: {value: 4}\n")
    Path("b.json").write_text(json.dumps({"a": {"value": 5}}))
    with recording() as recorded:
        client.init(project="p", config={"lr": 9, "own": 6})
        client.finish()
        monkeypatch.setenv("WANDB_CONFIG_PATHS", "a.yaml,b.json,missing.yaml")
        client.init(project="p", config={"lr": 9, "own": 6})
        client.finish()
        client.setup({"config_paths": ["b.json"]})
        client.init(project="p", config="a.yaml", config_exclude_keys=["lr"])
        client.finish()
    assert [run.config for run in recorded.runs] == [
        {"lr": 9, "default": 2, "own": 6},
        {"lr": 3, "default": 2, "own": 6, "a": 5},
        {"lr": 1, "default": 2, "a": 5},
    ]


def test_an_empty_config_file_is_a_warning_and_a_broken_one_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with recording() as recorded:
        (tmp_path / "empty.yaml").write_text("")
        client.init(project="p", config=str(tmp_path / "empty.yaml"))
        client.finish()
        (tmp_path / "broken.yaml").write_text("a: [")
        with pytest.raises(ConfigError, match="Invalid YAML in config file"):
            client.init(config=str(tmp_path / "broken.yaml"))
        with pytest.raises(ConfigError, match="doesn't exist"):
            client.init(config=str(tmp_path / "none.yaml"))
    assert recorded.run.config == {}
    assert "Found an empty config file" in capsys.readouterr().err


def test_argparse_and_include_keys() -> None:
    with recording() as recorded:
        client.init(project="p", config=argparse.Namespace(lr=1, seed=2), config_include_keys=["lr"])
    assert recorded.run.config == {"lr": 1}
