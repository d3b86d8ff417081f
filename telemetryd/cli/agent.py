"""`telemetryd agent`: the trials of a W&B sweep, each run as `telemetryd run` would, beside one daemon.

    find or start a daemon → register with the sweep → a launcher for each trial → … → retire our daemon

The daemon asks W&B in the agent's name; neither agent nor training needs a key where the daemon is another's. A trial's
launcher is a process group of its own, with its command in it: a stop goes to the launcher, which passes it on, and
what does not end is killed as a whole. The next trial begins when the last one's rows are delivered.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from types import FrameType
from typing import NoReturn

from client.errors import Error
from client.sweeps import calls
from client.sweeps import path as paths
from client.sweeps.agent import Agent, Leave, Trial
from client.sweeps.path import SweepPath
from client.sweeps.service import Described, Order, SweepService, check_online
from client.sweeps.trials import ProcessTrial
from telemetryd.cli import asking, exit_codes, extras, options
from telemetryd.cli.limits import RETIRE_TIMEOUT_S
from telemetryd.cli.say import painted, say
from telemetryd.cli.sidecar import Sidecar, SidecarError
from telemetryd.settings import Loaded
from telemetryd.settings.fields import BY_NAME

_LAUNCHER = "import sys; sys.path[:] = filter(None, sys.path); from telemetryd.cli.main import main; sys.exit(main())"
"""`python -c` puts the working folder first on sys.path; a job's own modules there may shadow ours."""


def run(arguments: argparse.Namespace) -> int:
    """The exit code of `telemetryd agent`: 0 when the sweep is over, 1 when it ended for failures or could not begin.

    Raises SettingsError or MissingExtraError before anything is started.
    """
    loaded = options.loaded(arguments)
    if extras.missing() and asking.ping(loaded.settings.endpoint) is None:
        extras.require_daemon("agent")
    try:
        where = paths.parse(arguments.sweep, arguments.entity, arguments.project)
        check_online()
        rules = calls.rules_of(arguments.max_consecutive_failed_runs)
        calls.stop_of(os.environ)
    except Error as error:
        print(f"telemetryd agent: {error}", file=sys.stderr)
        return exit_codes.USAGE
    sidecar = Sidecar(loaded.settings)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _told_to_leave)
    try:
        sidecar.join(_pause)
        service = SweepService(loaded.settings.endpoint)
        trials = Trials(where, arguments, loaded, service)
        agent = Agent(
            service,
            where,
            trials.begin,
            count=arguments.count,
            rules=rules,
            meanwhile=sidecar.look_after,
        )
        return exit_codes.OK if agent.run() else exit_codes.FAILED
    except SidecarError as error:
        say(painted("no daemon:", "yellow") + f" {error}; a sweep needs one, to ask W&B")
    except Error as error:
        say(str(error))
    except Leave:
        return exit_codes.SIGNALLED + signal.SIGTERM
    finally:
        sidecar.retire(_pause, RETIRE_TIMEOUT_S)
        sidecar.detach()
    return exit_codes.FAILED


class Trials:
    """Starts a launcher for each order."""

    def __init__(self, where: SweepPath, arguments: argparse.Namespace, loaded: Loaded, service: SweepService) -> None:
        """Raises UsageError or CommError where the sweep is to say what is run, and does not."""
        self._where = where
        self._launcher = [sys.executable, "-c", _LAUNCHER, "run", *_flags(arguments, loaded), "--"]
        self._stop_signal, self._told = calls.stop_of(os.environ)
        self._command = arguments.command_line
        self._described = Described("", None, None) if self._command else service.describe(where)

    def begin(self, order: Order) -> Trial:
        """See Agent."""
        params = paths.write_params(self._where, order.run_id, order.config)
        environ = {**os.environ, **paths.trial_environment(self._where, order.run_id, params), **self._told}
        command = self._command or self._described.command
        line = calls.line_of(command, order, order.program or self._described.program, params, environ)
        return ProcessTrial([*self._launcher, *line], environ, self._stop_signal)


def _flags(arguments: argparse.Namespace, loaded: Loaded) -> list[str]:
    """The settings that the agent was given as flags, for its launchers; the rest they read from where it did."""
    flags = ["--config", str(arguments.config)] if arguments.config is not None else []
    for name, field in BY_NAME.items():
        value = getattr(arguments, name, None)
        if value is not None:
            flags += [field.flag] if field.metavar is None else [field.flag, str(value)]
    return [*flags, BY_NAME["endpoint"].flag, loaded.settings.endpoint]


def _told_to_leave(number: int, frame: FrameType | None) -> NoReturn:
    raise Leave


def _pause(timeout_s: float) -> int | None:
    """See Pause; signals of this command are exceptions."""
    time.sleep(timeout_s)
    return None
