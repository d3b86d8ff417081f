"""Parts of sweeps, one at a time, and against wandb's own."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import client
from client.errors import CommError, SweepNotFoundError, UsageError
from client.sweeps import calls, macros, path
from client.sweeps.agent import Agent, Leave, Rules
from client.sweeps.path import SweepPath
from client.sweeps.service import Order, SweepService
from client.sweeps.trials import FunctionTrial
from telemetryd.runs import sweeps
from tests.support.processes import wait_until
from tests.support.recording_session import Recording, recording

ORDER = Order("run", "r1", {"x": {"value": 1}}, None)
WHERE = SweepPath("s", "e", "p")


# Which sweep


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s", SweepPath("s", "env-e", "env-p")),
        ("p/s", SweepPath("s", "env-e", "p")),
        ("e/p/s", SweepPath("s", "e", "p")),
        ("/p/s", SweepPath("s", "env-e", "p")),
    ],
)
def test_a_sweep_is_named_as_in_wandb_and_what_is_missing_comes_from_the_environment(
    text: str, expected: SweepPath
) -> None:
    assert path.parse(text, environ={"WANDB_ENTITY": "env-e", "WANDB_PROJECT": "env-p"}) == expected


def test_arguments_stand_between_the_name_and_the_environment() -> None:
    assert path.parse("s", "arg-e", "arg-p", {"WANDB_ENTITY": "env"}) == SweepPath("s", "arg-e", "arg-p")
    assert path.parse("e/p/s", "arg-e", "arg-p", {}) == SweepPath("s", "e", "p")


@pytest.mark.parametrize("wrong", ["", "a/b/c/d", "a/", None, 7])
def test_what_names_no_sweep_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match="Expected"):
        path.parse(wrong, environ={})


# Parameters and commands


def test_the_file_of_parameters_reads_the_same_as_json_and_as_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    config = {"lr": {"value": 1e-05}, "big": {"value": 1e300}, "d": {"value": {"é": ["008", None, True, 1.5, 1e-9]}}}
    file = path.write_params(WHERE, "r1", config)
    assert file == tmp_path / "wandb" / "sweep-s" / "config-r1.yaml"
    assert json.loads(file.read_text()) == yaml.safe_load(file.read_text()) == {"wandb_version": 1, **config}


@pytest.mark.parametrize(
    "macro",
    ["args", "args_no_equals", "args_no_hyphens", "args_no_boolean_flags", "args_json", "args_append_hydra",
     "args_override_hydra"],
)  # fmt: skip
def test_macros_become_what_wandb_makes_of_them(macro: str, tmp_path: Path) -> None:
    config = {"lr": {"value": 0.1}, "flag": {"value": True}, "off": {"value": False}, "s": {"value": "a b"}}
    line = macros.command_line(
        ["a", f"${{{macro}}}"], config, program=None, args_file=tmp_path / "args.json", environ={}
    )
    assert line == ["a", *_wandbs_macros(json.dumps(config))[macro]]


@functools.cache
def _wandbs_macros(config: str) -> dict[str, list[str]]:
    """By a process of its own: wandb's launch package adds names to wandb's module, which other tests list."""
    program = (
        "import json, sys; from wandb.sdk.launch.sweeps import utils\n"
        "print(json.dumps(utils.create_sweep_command_args({'args': json.loads(sys.argv[1])})))"
    )
    done = subprocess.run([sys.executable, "-c", program, config], capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_command_gets_its_program_its_file_and_its_variables(tmp_path: Path) -> None:
    command = ["${env}", "${interpreter}", "${program}", "--home=${envvar:HOME}", "${args_json_file}", "${nobody}"]
    line = macros.command_line(
        command, {"x": {"value": 1}}, program="t.py", args_file=tmp_path / "a.json", environ={"HOME": "/h"}
    )
    assert line == ["/usr/bin/env", "python", "t.py", "--home=/h", str(tmp_path / "a.json")]
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    with pytest.raises(UsageError, match="give the command after --"):
        calls.line_of(None, ORDER, None, tmp_path / "c.yaml", {})


def test_a_configuration_is_completed_and_written_as_wandb_does() -> None:
    from wandb.apis.public.sweeps import _validate_config_and_fill_distribution

    config = {
        "method": "random",
        "parameters": {
            "a": {"min": 1, "max": 2},
            "b": {"min": 1.0, "max": 2.0},
            "c": {"min": 1.0, "max": 2.0, "distribution": "log_uniform_values"},
            "d": {"values": ["008", "1e3", 1e-05, None, True]},
            "e": {"parameters": {"min": {"value": 1}, "max": {"value": 2}}},
        },
    }
    filled = sweeps.with_distributions(config)
    assert filled == _validate_config_and_fill_distribution(config)
    assert "distribution" not in config["parameters"]["a"]  # type: ignore[index]
    assert yaml.safe_load(sweeps.as_yaml(filled)) == filled
    assert "'008'" in sweeps.as_yaml(filled)


# The rules by which an agent gives up


def test_three_failures_in_the_first_minute_end_an_agent_and_later_ones_do_not() -> None:
    early, late = Rules(0.0), Rules(0.0)
    assert early.trial_ended(True, 1.0) is None
    assert early.trial_ended(False, 2.0) is None
    assert early.trial_ended(True, 3.0) is None
    verdict = early.trial_ended(True, 4.0)
    assert verdict is not None
    assert "3 failed runs in the first 60 seconds" in verdict[0]
    assert late.trial_ended(False, 1.0) is None
    assert [late.trial_ended(True, 61.0 + number) for number in range(10)] == [None] * 10


def test_five_failures_and_nothing_else_end_an_agent_that_may_flap() -> None:
    rules = Rules.of({"WANDB_AGENT_DISABLE_FLAPPING": "true"}, None, 0.0)
    verdicts = [rules.trial_ended(True, 1.0) for _ in range(5)]
    assert verdicts[:4] == [None] * 4
    assert "5 failed runs in a row" in verdicts[4][0]  # type: ignore[index]
    more = Rules.of({"WANDB_AGENT_DISABLE_FLAPPING": "true", "WANDB_AGENT_MAX_INITIAL_FAILURES": "9"}, None, 0.0)
    assert [more.trial_ended(True, 1.0) for _ in range(8)] == [None] * 8
    assert more.trial_ended(True, 1.0) is not None


def test_so_many_failures_one_after_another_end_an_agent_that_was_told_the_number() -> None:
    rules = calls.rules_of(2)
    ends = [rules.trial_ended(failed, rules.started_s + 100) for failed in (True, False, True, True)]
    assert ends[:3] == [None] * 3
    assert "2 consecutive" in ends[3][0]  # type: ignore[index]
    with pytest.raises(ValueError, match="at least 1"):
        calls.rules_of(0)
    with pytest.raises(TypeError):
        calls.rules_of(True)


# The agent's loop


class Server(SweepService):
    """Answers heartbeats from a list; the last answer stands."""

    def __init__(self, *answers: list[Order] | Exception) -> None:
        super().__init__("ipc:///nowhere")
        self.answers = list(answers)
        self.beats: list[tuple[str, ...]] = []

    def register(self, where: SweepPath) -> str:
        return "agent"

    def heartbeat(self, where: SweepPath, agent: str, running: Any) -> list[Order]:
        self.beats.append(tuple(running))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Told:
    """A trial that ends when it has been waited for so often, or when it is stopped or killed."""

    def __init__(self, waits: float = 1, heeds: bool = True, raises: list[BaseException] | None = None) -> None:
        self.waits, self.heeds, self.raises = waits, heeds, raises or []
        self.said: list[str] = []

    def wait(self, timeout_s: float) -> bool:
        if self.raises:
            raise self.raises.pop(0)
        self.waits -= 1
        return self.waits <= 0

    def stop(self) -> None:
        self.said.append("stop")
        if self.heeds:
            self.waits = 0

    def kill(self) -> None:
        self.said.append("kill")
        self.waits = 0

    def failure(self) -> str | None:
        return "stopped" if self.said else None


STOP, EXIT = Order("stop", "r1", {}, None), Order("exit", "", {}, None)


def run(server: Server, *trials: Told, count: int | None = None) -> bool:
    left = list(trials)
    agent = Agent(server, WHERE, lambda order: left.pop(0), count=count, rules=Rules(time.monotonic()), heartbeat_s=0.0)
    ended = agent.run()
    assert not left
    return ended


def test_a_trial_that_is_stopped_is_no_failure_and_the_next_one_begins() -> None:
    stopped = [Told(99) for _ in range(4)]
    server = Server(*[answer for _ in stopped for answer in ([ORDER], [STOP])], [ORDER], [EXIT])
    assert run(server, *stopped, Told()) is True
    assert [trial.said for trial in stopped] == [["stop"]] * 4
    assert server.beats[:4] == [(), ("r1",), (), ("r1",)]


def test_a_stop_of_another_run_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Told(3)
    assert run(Server([ORDER], [Order("stop", "another", {}, None)], [EXIT]), trial) is True
    assert trial.said == ["stop"]  # by the exit


def test_what_does_not_end_is_killed_after_the_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_AGENT_KILL_DELAY", "0")
    trial = Told(99, heeds=False)
    run(Server([ORDER], [STOP], [EXIT]), trial)
    assert trial.said == ["stop", "kill"]


def test_silence_ends_nothing_and_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    trial = Told(5)
    silent = [CommError("W&B does not answer")] * 3
    assert run(Server(*silent, [ORDER], *silent, [], [EXIT]), trial) is True
    assert trial.said == []
    assert capsys.readouterr().err.count("gets no answer") == 2  # once for each time that it was away


def test_the_run_of_a_deleted_sweep_goes_on_to_its_end() -> None:
    trial = Told(4)
    server = Server([ORDER], SweepNotFoundError("gone"), [ORDER])
    assert run(server, trial) is True
    assert trial.said == []
    assert len(server.beats) == 2


def test_the_first_interrupt_waits_the_second_stops_and_the_third_kills() -> None:
    trial = Told(99, heeds=False, raises=[KeyboardInterrupt(), KeyboardInterrupt(), KeyboardInterrupt()])
    assert run(Server([ORDER], [EXIT]), trial) is True
    assert trial.said == ["stop", "kill"]
    waiting = Told(3, raises=[KeyboardInterrupt()])
    run(Server([ORDER]), waiting)
    assert waiting.said == []


def test_a_signal_to_leave_stops_at_once() -> None:
    trial = Told(99, raises=[Leave()])
    assert run(Server([ORDER]), trial) is True
    assert trial.said == ["stop"]


def test_an_agent_ends_after_so_many_runs() -> None:
    assert run(Server([ORDER]), Told(), Told(), count=2) is True


# Functions


def test_a_function_that_is_stopped_is_interrupted_and_its_environment_is_put_back() -> None:
    inside = threading.Event()
    seen: list[str | None] = []

    def loop() -> None:
        seen.append(os.environ.get("WANDB_RUN_ID"))
        inside.set()
        while True:
            time.sleep(0.001)

    trial = FunctionTrial(loop, {"WANDB_RUN_ID": "told"})
    assert inside.wait(10)
    assert not trial.wait(0)
    trial.stop()
    wait_until(lambda: trial.wait(0.1), 20, "the end")
    assert trial.failure() == "KeyboardInterrupt()"
    assert seen == ["told"]
    assert "WANDB_RUN_ID" not in os.environ
    trial.stop()  # too late, and harmless


@pytest.mark.parametrize(
    ("code", "failure"), [(None, None), (0, None), (3, "it exited with 3"), ("no", "it exited with no")]
)
def test_a_function_may_exit(code: Any, failure: str | None) -> None:
    trial = FunctionTrial(lambda: sys.exit(code), {})
    wait_until(lambda: trial.wait(0.1), 20, "the end")
    assert trial.failure() == failure


# What `init` makes of it


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recording]:
    params = tmp_path / "config-r9.yaml"
    params.write_text("wandb_version: 1\n\nlr:\n  value: 1.0e-05\nnet:\n  value:\n    depth: 2\n")  # as wandb's agent
    for name, value in path.trial_environment(WHERE, "r9", params).items():
        monkeypatch.setenv(name, value)
    before = signal.getsignal(signal.SIGTERM)
    with recording() as recorded:
        yield recorded
    signal.signal(signal.SIGTERM, before)


def test_the_sweep_says_which_run_it_is_and_its_parameters_stand(
    swept: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    run = client.init(
        project="mine", entity="me", id="own", config={"lr": 1, "net": {"depth": 9, "width": 4}, "other": 2}
    )
    spec = swept.runs[0].spec
    assert (spec.run_id, spec.entity, spec.project) == ("r9", "e", "p")
    assert spec.settings["sweep_id"] == "s"
    assert spec.config == {"lr": 1e-05, "net": {"depth": 2, "width": 4}, "other": 2}
    run.config.lr = 7
    run.config.update({"lr": 8, "other": 3}, allow_val_change=True)
    assert run.config.as_dict() == {"lr": 1e-05, "net": {"depth": 2, "width": 4}, "other": 3}
    assert run.sweep_id == "s"
    said = capsys.readouterr().err
    for name, value in (("project", "mine"), ("entity", "me"), ("run_id", "own")):
        assert f"Ignoring {name} {value!r} when running a sweep." in said
    assert said.count("Config item 'lr' was locked by 'sweep' (ignored update).") == 2


def test_the_next_trial_finishes_the_one_that_was_left_open(swept: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client.init()
    monkeypatch.setenv("WANDB_RUN_ID", "r10")
    second = client.init()
    assert (second.id, client.run) == ("r10", second)
    with pytest.raises(UsageError):
        first.log({"too": "late"})


STOPPED = """
import os, signal, sys, time, client
run = client.init(mode="offline")
try:
    print("ready", flush=True)
    while True:
        time.sleep(0.01)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    run.finish(timeout_s=0, quiet=True)
"""


@pytest.mark.parametrize("chosen", ["SIGINT", "none"])
def test_an_agents_sigterm_interrupts_training_where_a_stop_may(chosen: str, isolated: Path) -> None:
    environ = {**os.environ, "WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "r", "TELEMETRYD_STOP_SIGNAL": chosen}
    training = subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True, env=environ)
    assert training.stdout is not None
    with training:
        assert training.stdout.readline() == "ready\n"
        training.send_signal(signal.SIGTERM)
        said, code = training.stdout.read(), training.wait(30)
    assert (said, code) == (("interrupted\n", 0) if chosen == "SIGINT" else ("", -signal.SIGTERM))
