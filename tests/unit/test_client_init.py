"""`init`: names, places and errors as in wandb 0.31, and never a wait for the daemon."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

import client
from client import api, setting_names
from client.errors import Error, UnsupportedError, UsageError
from client.journal import folder as spool_folder
from client.protocol.records import Attributes, Rewind, Row
from client.run_moment import parse_moment
from client.settings import SettingError, Settings, resolve
from tests.support.recording_session import recording
from tests.support.requirements import require_module

wandb = require_module("wandb")
run_moment = require_module("wandb.sdk.lib.run_moment")


def test_its_arguments_are_wandbs() -> None:
    ours, theirs = inspect.signature(client.init).parameters, inspect.signature(wandb.init).parameters
    assert list(ours) == list(theirs)
    assert {name: ours[name].default for name in ours if name != "anonymous"} == {
        name: theirs[name].default for name in theirs if name != "anonymous"
    }


def test_every_setting_of_wandb_is_known_and_no_other() -> None:
    assert set(wandb.Settings.model_fields) == setting_names.ALL
    assert len(setting_names.ALL) == sum(
        map(len, (setting_names.OWN, setting_names.FORWARDED, setting_names.WITHOUT_EFFECT))
    )


@pytest.mark.parametrize("method", ["log", "define_metric"])
def test_the_runs_methods_take_wandbs_arguments(method: str) -> None:
    ours, theirs = (inspect.signature(getattr(module.Run, method)) for module in (client, wandb))
    assert [(p.name, p.default, p.kind) for p in ours.parameters.values()] == [
        (p.name, p.default, p.kind) for p in theirs.parameters.values()
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"project": "team/digits"}, "use - or _ instead, and entity="),
        ({"project": "a" * 129}, "exceeded 128 characters"),
        ({"id": "a/b"}, "Run ID cannot contain the characters"),
        ({"id": ""}, "leave id= out"),
        ({"id": " a"}, "cannot start or end with whitespace"),
        ({"mode": "sometimes"}, "Input should be 'online', 'offline' or 'disabled'"),
        ({"resume": "maybe"}, "Input should be 'allow', 'must', 'never' or 'auto'"),
        ({"reinit": "perhaps"}, "Input should be one of 'default'"),
        ({"tags": [""]}, "between 1 and 64 characters"),
        ({"name": 3}, "use str"),
        ({"settings": {"no_such_setting": 1}}, "no_such_setting"),
        ({"config": "missing.yaml"}, "config file missing.yaml doesn't exist"),
        ({"id": "a" * 129}, "longer than 128 characters"),
        ({"mode": "shared"}, "its own run with the same group"),
        ({"fork_from": "a?_step=1"}, "fork_from is not supported"),
        ({"resume_from": "a"}, "Could not parse passed run moment string 'a', expected format"),
        ({"resume_from": "a?loss=1"}, "only the metric '_step' is supported"),
        ({"resume_from": "a?_step=x"}, "Could not parse passed run moment string"),
        ({"resume_from": "a?_step=1.5"}, "must be the number of a row, 0 or more, and whole"),
        ({"resume_from": "a?_step=-1"}, "must be the number of a row, 0 or more, and whole"),
        ({"resume_from": "a?_step=1", "id": "b"}, "have been specified with different ids"),
        ({"resume_from": "a?_step=1", "resume": "allow"}, "are mutually exclusive"),
        ({"sync_tensorboard": True}, "log the numbers with run.log"),
        ({"monitor_gym": True}, "not supported yet"),
    ],
)
def test_errors_say_what_to_do(arguments: dict, says: str) -> None:
    with recording() as recorded, pytest.raises(UsageError, match=says):
        client.init(**{"project": "p", **arguments})
    assert recorded.runs == []


def test_resume_from_names_the_run_and_the_step_before_the_first_row() -> None:
    with recording() as recorded:
        run = client.init(project="p", resume_from="abc?_step=9", id="abc")
        assert (run.id, run.step) == ("abc", 10)
        run.log({"i": 0})
        run.log({"i": 1})
        run.finish()
    records = recorded.runs[0].records
    assert [one.step for one in records if isinstance(one, Rewind)] == [9]
    assert isinstance(records[0], Rewind), "before anything else"
    rows = [one for one in records if isinstance(one, Row)]
    assert [(row.step, row.explicit) for row in rows] == [(10, True), (11, True)], "as if the caller had given them"


@pytest.mark.parametrize("text", ["a?_step=0", "a?_step=9.0", "a?_step=1&_step=2"])
def test_a_moment_is_read_as_wandb_reads_it(text: str) -> None:
    theirs = run_moment.RunMoment.from_uri(text)
    assert parse_moment(text) == (theirs.run, theirs.value)


@pytest.mark.parametrize(
    "text", ["a", "?_step=1", "a?_step", "a/b?_step=1", "a?b=1&_step=2", "a?_step=1#x", "[?_step=1"]
)
def test_what_is_no_moment_has_wandbs_error(text: str) -> None:
    with pytest.raises(ValueError, match="Could not parse") as theirs:
        run_moment.RunMoment.from_uri(text)
    with pytest.raises(ValueError, match="Could not parse") as ours:
        parse_moment(text)
    assert str(ours.value) == str(theirs.value)


def test_what_is_not_given_is_as_in_wandb() -> None:
    with recording() as recorded:
        run = client.init(project="p")
        assert len(run.id) == 8
        assert run.id.isalnum()
        assert run.id == run.id.lower()
        assert (run.name, run.entity, run.group, run.job_type, run.notes, run.tags) == (None, "", "", "", None, ())
        assert (run.path, run.offline, run.disabled, run.resumed, run.starting_step) == (
            f"p/{run.id}",
            False,
            False,
            False,
            0,
        )
        assert run.url is None
        assert run.project_url is None
        assert abs(run.start_time - time.time()) < 60
    assert recorded.run.spec.mode == "online"


def test_what_is_given_reaches_the_run(tmp_path: Path) -> None:
    with recording() as recorded:
        run = client.init(
            entity="e", project="p", dir=tmp_path, id="i", name="n", notes="no", tags=["t"], config={"a": 1}, group="g",
            job_type="j", mode="offline", resume="allow", save_code=True, settings={"username": "u"},
        )  # fmt: skip
        assert (run.entity, run.project, run.id, run.name, run.notes) == ("e", "p", "i", "n", "no")
        assert (run.tags, run.group, run.job_type, run.offline, run.path) == (("t",), "g", "j", True, "e/p/i")
        assert run.settings.run_group == "g"
    spec = recorded.run.spec
    assert (spec.entity, spec.project, spec.run_id, spec.name, spec.notes) == ("e", "p", "i", "n", "no")
    assert (spec.tags, spec.group, spec.job_type, spec.mode, spec.resume) == (["t"], "g", "j", "offline", "allow")
    assert (spec.config, spec.directory, spec.save_code, spec.settings) == (
        {"a": 1},
        str(tmp_path),
        True,
        {"username": "u"},
    )
    assert spec.metadata["pid"] == os.getpid()


def test_the_environment_speaks_where_no_argument_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = {
        "WANDB_PROJECT": "ep", "WANDB_ENTITY": "ee", "WANDB_NAME": "en", "WANDB_NOTES": "eno", "WANDB_TAGS": "a,b",
        "WANDB_RUN_GROUP": "eg", "WANDB_JOB_TYPE": "ej", "WANDB_RUN_ID": "eid", "WANDB_RESUME": "must",
        "WANDB_DIR": str(tmp_path), "WANDB_MODE": "offline", "WANDB_API_KEY": "secret", "WANDB_HOST": "h",
        "TELEMETRYD_RUN_ID": "other", "TELEMETRYD_LAUNCH": "1" * 32,
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with recording() as recorded:
        client.init(notes="argument")
    spec = recorded.run.spec
    assert (spec.project, spec.entity, spec.name, spec.notes, spec.tags) == ("ep", "ee", "en", "argument", ["a", "b"])
    assert (spec.group, spec.job_type, spec.run_id, spec.resume) == ("eg", "ej", "eid", "must")
    assert (spec.directory, spec.mode, spec.settings) == (str(tmp_path), "offline", {"host": "h"})
    assert recorded.run.session.hello.launch == "1" * 32
    assert "secret" not in repr(recorded.run.session.hello)


def test_the_launchers_run_id_is_taken_when_wandbs_variable_is_not_set() -> None:
    assert resolve({}, None, {"TELEMETRYD_RUN_ID": "t"}).run_id == "t"


@pytest.mark.parametrize(
    ("environ", "mode"),
    [
        ({"WANDB_DISABLED": "true"}, "disabled"),
        ({"WANDB_DISABLED": "false"}, "online"),
        ({"WANDB_MODE": "dryrun"}, "offline"),
        ({"WANDB_MODE": "online", "WANDB_DISABLED": "true"}, "online"),
    ],
)
def test_the_mode_from_the_environment(environ: dict, mode: str) -> None:
    assert resolve({}, None, environ).mode == mode


def test_wandbs_own_settings_object_is_taken() -> None:
    resolved = resolve({}, wandb.Settings(run_group="g", init_timeout=9), {})
    assert (resolved.group, resolved.without_effect) == ("g", ("init_timeout",))


def test_settings_without_effect_are_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    with recording():
        client.init(project="p", settings=Settings(base_url="http://x", init_timeout=3))
    assert "settings without effect here, they are the daemon's: base_url, init_timeout" in capsys.readouterr().err


def test_an_unknown_setting_says_its_name() -> None:
    with pytest.raises(SettingError, match="'bogus'"):
        Settings(bogus=1)


def test_a_second_init_returns_the_active_run_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with recording() as recorded:
        first = client.init(project="p")
        assert client.init(project="q") is first
        assert client.init(project="q", reinit=False) is first
        with pytest.raises(Error, match="Cannot resume a run while another run is active"):
            client.init(resume="must", id="x")
    assert len(recorded.runs) == 1
    assert "returning the previous run" in capsys.readouterr().err


@pytest.mark.parametrize("reinit", [True, "finish_previous"])
def test_reinit_can_finish_what_was_active(reinit: object) -> None:
    with recording() as recorded:
        first = client.init(project="p")
        second = client.init(project="p", reinit=reinit)  # type: ignore[arg-type]
        assert client.run is second is not first
        assert recorded.runs[0].finished
        assert not recorded.runs[1].finished


def test_reinit_can_create_a_run_beside_the_active_one() -> None:
    with recording() as recorded:
        first = client.init(project="p")
        second = client.init(project="p", reinit="create_new")
        second.log({"b": 1})
        client.log({"a": 1})
        assert client.run is first
    assert [call.data for run in recorded.runs for call in run.calls] == [{"a": 1}, {"b": 1}]


def test_before_init_every_function_says_so() -> None:
    for name in api.RUN_METHODS:
        with pytest.raises(Error, match=rf"You must call wandb.init\(\) before wandb.{name}\(\)"):
            getattr(client, name)()
    with pytest.raises(Error, match=r"before wandb.config.lr"):
        client.config.lr = 1
    with pytest.raises(Error, match=r"before wandb.summary\['a'\]"):
        client.summary["a"] = 1
    assert client.finish() is None
    assert client.run is None


def test_the_module_speaks_for_the_run_until_it_is_finished() -> None:
    with recording() as recorded:
        run = client.init(project="p", config={"lr": 1})
        client.log({"a": 1})
        client.summary["b"] = 2
        client.define_metric("a", summary="max")
        assert client.config.lr == 1
        assert client.run is run
        client.finish(exit_code=3, quiet=True)
        assert client.run is None
    assert recorded.run.summary == {"a": 1, "b": 2}
    assert recorded.run.exit_code == 3


def test_what_is_not_there_yet_says_what_to_use() -> None:
    with pytest.raises(UnsupportedError, match=r"wandb.controller cannot be had .* use|let W&B draw them"):
        client.controller  # noqa: B018
    assert not hasattr(client, "controller")
    assert not hasattr(client, "no_such_thing")


def test_name_notes_and_tags_can_change(caplog: pytest.LogCaptureFixture) -> None:
    with recording() as recorded:
        run = client.init(project="p", tags=["a"])
        run.name = "n"
        run.notes = "o"
        run.tags += ("b",)
        run.tags = [""]  # type: ignore[assignment]
        assert (run.name, run.notes, run.tags) == ("n", "o", ("a", "b"))
        run.finish(quiet=True)
        with pytest.raises(UsageError, match="The call to `name` will be ignored"):
            run.name = "late"
    assert [record for record in recorded.run.records if isinstance(record, Attributes)] == [
        Attributes(name="n"), Attributes(notes="o"), Attributes(tags=["a", "b"]),
    ]  # fmt: skip
    assert "Invalid tag detected" in caplog.text


def test_a_config_too_large_for_the_greeting_travels_as_a_record() -> None:
    with recording() as recorded:
        run = client.init(project="p", config={"large": "x" * 300_000, "small": 1})
        assert run.config.small == 1
    assert recorded.run.spec.config == {}
    assert recorded.run.config == {"large": "x" * 300_000, "small": 1}


def test_resume_auto_takes_up_the_run_that_did_not_finish(tmp_path: Path) -> None:
    stored = tmp_path / "wandb" / "wandb-resume.json"
    with recording() as recorded:
        first = client.init(project="p", dir=tmp_path, resume="auto")
        first.finish(exit_code=1, quiet=True)
        assert json.loads(stored.read_text()) == {"run_id": first.id}
        second = client.init(project="p", dir=tmp_path, resume="auto")
        second.finish(exit_code=0, quiet=True)
    assert recorded.runs[0].id == recorded.runs[1].id
    assert not stored.exists()


def test_the_project_is_named_after_the_git_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with recording() as recorded:
        client.init().finish(quiet=True)
        repository = tmp_path / "digits"
        repository.mkdir()
        subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
        monkeypatch.chdir(repository)
        client.init().finish(quiet=True)
    assert [run.spec.project for run in recorded.runs] == ["uncategorized", "digits"]


def test_it_does_not_wait_for_a_daemon_that_is_not_there(isolated: Path) -> None:
    began_s = time.monotonic()
    run = client.init(project="p", settings={"silent": True})
    run.log({"a": 1})
    assert time.monotonic() - began_s < 3.0, "a daemon that is awaited is awaited longer"
    report = run.finish(quiet=True)
    assert (report.offered, report.pending, report.state) == (1, 1, "spooled")
    assert report.where is not None
    assert (Path(report.where) / spool_folder.HELLO_NAME).exists()
    assert "1 rows offered: 0 delivered, 0 dropped, 1 pending" in str(report)
    assert "telemetryd serve" in str(report)
    assert run.finish(quiet=True) is report


def test_an_endpoint_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRYD_ENDPOINT", f"ipc:///{'x' * 120}")
    with pytest.raises(UsageError, match="TELEMETRYD_ENDPOINT"):
        client.init(project="p")
    assert client.run is None


def test_dir_is_a_folder_that_exists_even_without_a_daemon(tmp_path: Path) -> None:
    with recording():
        run = client.init(project="p", dir=tmp_path, mode="offline")
        assert Path(run.dir).is_dir()
        assert run.dir == run.dir
        assert Path(run.dir).is_relative_to(tmp_path / "wandb")
        assert Path(run.sync_dir).name.startswith("offline-run-")
