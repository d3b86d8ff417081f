"""`client.sweep` and `client.agent`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from client import policy
from client.errors import UsageError
from client.sweeps import path as paths
from client.sweeps.agent import Agent, Rules, Trial
from client.sweeps.macros import DEFAULT_COMMAND, command_line
from client.sweeps.service import Order, SweepService, check_online
from client.sweeps.trials import FunctionTrial, ProcessTrial
from client.term import termwarn

STOP_SIGNAL = "TELEMETRYD_STOP_SIGNAL"


def sweep(
    sweep: dict[str, Any] | Callable[[], dict[str, Any]],
    entity: str | None = None,
    project: str | None = None,
    prior_runs: list[str] | None = None,
) -> str:
    """Make a sweep, as `wandb.sweep`: its id, for `client.agent` and `telemetryd agent`. The daemon asks W&B.

    `sweep` is the configuration, or a function that returns it. As in wandb, the sweep's entity and project are the
    process's default from now on (WANDB_ENTITY, WANDB_PROJECT). Waits for W&B, 30 s at most.

    Raises UsageError offline and for a configuration that is no dict, ValueError for one that W&B refuses,
    NoAnswerError without a daemon, CommError where the daemon has no key or W&B refuses it.
    """
    config = sweep() if callable(sweep) else sweep
    if not isinstance(config, Mapping):
        kind = type(config).__name__
        raise UsageError(f"a sweep's configuration is a dict, or a function that returns one, not {kind}")
    check_online()
    project = project or config.get("project")
    made = SweepService().create(
        dict(config),
        entity or os.environ.get("WANDB_ENTITY"),
        project or os.environ.get("WANDB_PROJECT"),
        prior_runs,
    )
    if made.path.entity:
        os.environ["WANDB_ENTITY"] = made.path.entity
    if made.path.project:
        os.environ["WANDB_PROJECT"] = made.path.project
    if made.warnings:
        listed = "\n".join(f"  Violation {number}. {text}" for number, text in enumerate(made.warnings, 1))
        termwarn(
            "Malformed sweep config detected! This may cause your sweep to behave in unexpected ways.\n"
            f"To avoid this, please fix the sweep config schema violations below:\n{listed}"
        )
    print("Create sweep with ID:", made.path.sweep)
    if made.url:
        print("Sweep URL:", made.url)
    return made.path.sweep


def agent(
    sweep_id: str,
    function: Callable[[], object] | None = None,
    entity: str | None = None,
    project: str | None = None,
    count: int | None = None,
    forward_signals: bool = False,
    term_timeout: int | None = None,
    max_consecutive_failed_runs: int | None = None,
) -> None:
    """Run the sweep's trials, as `wandb.agent`: `function()` for each, on a thread, one after another, until the sweep
    is over or `count` trials have run. Without `function`, the program that the sweep's configuration names.

    In the function, `client.init()` returns the trial's run with the sweep's parameters in `run.config`; a run that the
    function leaves open is finished. An error in it fails the trial, not the agent; a stop from W&B is a
    KeyboardInterrupt in it. `forward_signals` and `term_timeout` are without effect: a process is told to stop, and
    killed after WANDB_AGENT_KILL_DELAY (30 s).

    Raises UsageError for a wrong call and offline, SweepNotFoundError, NoAnswerError without a daemon, CommError.
    """
    where = paths.parse(sweep_id, entity, project)
    rules = rules_of(max_consecutive_failed_runs)
    check_online()
    service = SweepService()
    if function is None:
        described = service.describe(where)
        own_stop, told = stop_of(os.environ)

        def begin(order: Order) -> Trial:
            params = paths.write_params(where, order.run_id, order.config)
            environ = {**os.environ, **paths.trial_environment(where, order.run_id, params), **told}
            line = line_of(described.command, order, order.program or described.program, params, environ)
            return ProcessTrial(line, environ, own_stop)

    elif callable(function):

        def begin(order: Order) -> Trial:
            params = paths.write_params(where, order.run_id, order.config)
            # Its own stop would be a signal to the whole process; the agent hears of it, too.
            told = {**paths.trial_environment(where, order.run_id, params), STOP_SIGNAL: "none"}
            return FunctionTrial(function, told)

    else:
        raise TypeError("function parameter must be callable!")
    Agent(service, where, begin, count=count, rules=rules).run()


def rules_of(consecutive_max: int | None) -> Rules:
    """The rules by which an agent that starts now gives up. Raises TypeError and ValueError as wandb."""
    if consecutive_max is not None:
        if isinstance(consecutive_max, bool) or not isinstance(consecutive_max, int):
            raise TypeError("max_consecutive_failed_runs must be an integer or None")
        if consecutive_max < 1:
            raise ValueError("max_consecutive_failed_runs must be at least 1")
    return Rules.of(os.environ, consecutive_max, time.monotonic())


def stop_of(environ: Mapping[str, str]) -> tuple[Any, dict[str, str]]:
    """(the signal by which an agent stops a process, what the process's environment must say then).

    The signal is that of W&B's stop button. The process itself does nothing on the button: the agent hears of it, too,
    and a second signal would interrupt what training does to end well. Raises UsageError.
    """
    try:
        chosen = policy.resolve({}, environ).stop_signal
    except ValueError as error:
        raise UsageError(str(error)) from None
    return chosen or policy.Policy().stop_signal, {STOP_SIGNAL: "none"}


def line_of(
    command: list[str] | None, order: Order, program: str | None, params: Path, environ: Mapping[str, str]
) -> list[str]:
    """The words of a trial's command. Raises UsageError where the sweep does not say what to run."""
    try:
        return command_line(
            command or DEFAULT_COMMAND,
            order.config,
            program=program,
            args_file=params.with_suffix(".json"),
            environ=environ,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
