"""`telemetryd status`: what the daemon says of itself; without one, what waits on disk and how to deliver it."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from telemetryd.cli import asking, exit_codes, leftovers, options
from telemetryd.cli.asking import NoAnswerError, Presence
from telemetryd.cli.extras import require_daemon
from telemetryd.cli.limits import STATUS_FINISHED_RUNS, STATUS_TIMEOUT_S
from telemetryd.settings import DaemonSettings


def run(arguments: argparse.Namespace) -> int:
    """0, or 3 when no daemon answers. Raises SettingsError or MissingExtraError."""
    settings = options.loaded(arguments).settings
    if not arguments.json:
        require_daemon("status")
    answer = ask_status(settings)
    shown = answer if answer is not None else without_daemon(settings)
    if arguments.json:
        print_json(shown)
    else:
        from telemetryd.cli import status_page  # needs rich, of the extra

        (status_page.show_absent if answer is None else status_page.show)(shown)
    return exit_codes.NO_DAEMON if answer is None else exit_codes.OK


def ask_status(settings: DaemonSettings) -> dict[str, Any] | None:
    """The daemon's answer, None when there is none."""
    try:
        return asking.ask(settings.endpoint, "status", STATUS_TIMEOUT_S)
    except NoAnswerError:
        return None


def without_daemon(settings: DaemonSettings) -> dict[str, Any]:
    """What is told in a daemon's place, in the form of its `status` with `error` saying why."""
    silent = asking.look(settings.endpoint)[0] is not Presence.ABSENT
    inbox, trouble = leftovers.read_inbox(settings.state_dir, STATUS_FINISHED_RUNS)
    return {
        "daemon": None,
        "error": "a daemon listens and does not answer" if silent else "no daemon",
        "endpoint": settings.endpoint,
        "state_dir": str(settings.state_dir),
        "spool": leftovers.survey_spool(settings.spool_dir).as_map(),
        "inbox_trouble": trouble,
        **inbox,
    }


def print_json(value: dict[str, Any]) -> None:
    """One JSON document on stdout."""
    json.dump(value, sys.stdout, indent=2, default=str)
    print()
