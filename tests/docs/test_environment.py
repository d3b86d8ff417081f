"""docs/environment.md is true of the code: what it says is honoured is, and what it says is not changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import client
from client.testing import RecordedRun
from telemetryd.runs import wandb_settings
from tests.docs.markdown import ROOT
from tests.support.recording_session import recording
from tests.support.requirements import require_module

DOCUMENT = ROOT / "docs" / "environment.md"
ROWS = re.findall(r"^\| `(WANDB_\w+)` \| ([\w ]+) \| (.+) \|$", DOCUMENT.read_text(), re.M)
READ = {name: by for name, by, _ in ROWS}


def forwarded(setting: str, told: Any = None) -> Callable[[RecordedRun], bool]:
    """A setting that reaches the run worker and that it takes."""
    return lambda run: (
        run.spec.settings[setting] == (told or "told") and setting in wandb_settings.settings_of(run.spec)
    )


HONOURED: dict[str, tuple[str, Callable[[RecordedRun], bool]]] = {
    "WANDB_PROJECT": ("told", lambda run: run.spec.project == "told"),
    "WANDB_ENTITY": ("told", lambda run: run.spec.entity == "told"),
    "WANDB_NAME": ("told", lambda run: run.spec.name == "told"),
    "WANDB_NOTES": ("told", lambda run: run.spec.notes == "told"),
    "WANDB_TAGS": ("a,b", lambda run: run.spec.tags == ["a", "b"]),
    "WANDB_RUN_GROUP": ("told", lambda run: run.spec.group == "told"),
    "WANDB_JOB_TYPE": ("told", lambda run: run.spec.job_type == "told"),
    "WANDB_RUN_ID": ("told", lambda run: run.spec.run_id == "told"),
    "WANDB_RESUME": ("must", lambda run: run.spec.resume == "must"),
    "WANDB_MODE": ("offline", lambda run: run.spec.mode == "offline"),
    "WANDB_DIR": ("/told", lambda run: run.spec.directory == "/told"),
    "WANDB_CONSOLE": ("off", lambda run: run.spec.settings["console"] == "off"),
    "WANDB_SAVE_CODE": ("true", lambda run: run.spec.save_code is True),
    "WANDB_DISABLE_CODE": ("true", lambda run: run.spec.save_code is False),
    "WANDB_DISABLE_GIT": ("true", lambda run: run.spec.settings["disable_git"] == "true"),
    "WANDB_GIT_COMMIT": ("told", forwarded("git_commit")),
    "WANDB_GIT_REMOTE_URL": ("told", forwarded("git_remote_url")),
    "WANDB_GIT_ROOT": ("told", forwarded("git_root")),
    "WANDB_PROGRAM": ("told", forwarded("program")),
    "WANDB_HOST": ("told", forwarded("host")),
    "WANDB_USERNAME": ("told", forwarded("username")),
    "WANDB_USER_EMAIL": ("told", forwarded("email")),
    "WANDB_ORGANIZATION": ("told", forwarded("organization")),
    "WANDB_DOCKER": ("told", forwarded("docker")),
    "WANDB_X_EXECUTABLE": ("told", forwarded("x_executable")),
    "WANDB_NOTEBOOK_NAME": ("told", forwarded("notebook_name")),
    "WANDB_IGNORE_GLOBS": ("a,b", forwarded("ignore_globs", ["a", "b"])),
    "WANDB_SWEEP_ID": ("told", forwarded("sweep_id")),
}
"""By variable: a value, and whether a run shows that it was read. The rest has tests of its own below."""


def test_every_variable_of_wandb_stands_in_the_table_once() -> None:
    env = require_module("wandb").env
    theirs = {value for value in vars(env).values() if isinstance(value, str) and value.startswith("WANDB_")}
    assert len(READ) == len(ROWS)
    assert theirs - READ.keys() == set()
    assert READ.keys() - theirs == {"WANDB_DISABLED", "WANDB_CONSOLE"}
    assert set(READ.values()) == {"by training", "by the daemon", "no"}


def test_every_variable_that_training_reads_is_exercised() -> None:
    elsewhere = {"WANDB_DISABLED", "WANDB_CONFIG_PATHS", "WANDB_SILENT", "WANDB_QUIET"}
    elsewhere |= {
        "WANDB_SWEEP_PARAM_PATH",
        "WANDB_AGENT_KILL_DELAY",
        "WANDB_AGENT_DISABLE_FLAPPING",
    }  # unit/test_sweeps
    elsewhere |= {"WANDB_AGENT_MAX_INITIAL_FAILURES"}
    assert {name for name, by in READ.items() if by == "by training"} == HONOURED.keys() | elsewhere


@pytest.mark.parametrize("name", HONOURED)
def test_what_training_reads_reaches_the_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value, shows = HONOURED[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    with recording() as recorded:
        client.init()
    assert shows(recorded.run)


@pytest.mark.parametrize("value", ["true", "1", "TRUE"])
def test_disabled(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_DISABLED", value)
    assert client.init().disabled
    client.finish()
    monkeypatch.setenv("WANDB_MODE", "offline")
    with recording():
        assert not client.init().disabled


def test_config_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text("lr: {value: 3}\n")
    monkeypatch.setenv("WANDB_CONFIG_PATHS", str(tmp_path / "a.yaml"))
    with recording() as recorded:
        client.init(config={"lr": 1, "seed": 2})
    assert recorded.run.config == {"lr": 3, "seed": 2}


@pytest.mark.parametrize("name", ["WANDB_SILENT", "WANDB_QUIET"])
def test_silent_and_quiet(name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for value, told in (("false", True), ("true", False)):
        monkeypatch.setenv(name, value)
        with recording():
            client.init(project="p").finish()
        assert bool(capfd.readouterr().err) is told


@pytest.mark.parametrize("name", [name for name, by in READ.items() if by == "by the daemon"])
def test_what_the_daemon_reads_reaches_wandb_there(name: str) -> None:
    environment = {name: "told", "WANDB_RUN_ID": "of a run"}
    wandb_settings.clean_environment(environment)
    assert environment == {name: "told"}


@pytest.mark.parametrize("name", [name for name, by in READ.items() if by != "by training"])
def test_what_training_does_not_read_changes_nothing_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = []
    for value in (None, "1"):
        if value is not None:
            monkeypatch.setenv(name, value)
        with recording() as recorded:
            client.init(id="x", project="p")
        told.append(recorded.run.spec)
    assert told[0] == told[1]


def test_other_settings_are_read_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_X_LABEL", "told")
    with recording() as recorded:
        client.init(project="p")
    assert recorded.run.spec.settings["x_label"] == "told"
