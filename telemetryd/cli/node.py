"""`telemetryd node`: samples this machine for the runs that train on it and whose daemon is on another."""

from __future__ import annotations

import argparse

from telemetryd.cli import options
from telemetryd.cli.extras import require_daemon
from telemetryd.errors import SettingsError
from telemetryd.settings import folders

SETTINGS = (
    "endpoint",
    "state_dir",
    "spool_dir",
    "log_level",
    "sample_period_s",
    "sample_periods",
    "sample_all_gpus",
    "sample_paths",
    "node_label",
    "health",
)


def run(arguments: argparse.Namespace) -> int:
    """Sample until told to stop. Raises SettingsError, PlaceError, AlreadyServingError or MissingExtraError."""
    settings = options.loaded(arguments).settings
    if not settings.endpoint.startswith("tcp://"):
        raise SettingsError(
            f"the daemon at {settings.endpoint} is on this machine, which it samples itself: name the run's daemon on"
            " another with --endpoint tcp://HOST:PORT or TELEMETRYD_ENDPOINT"
        )
    require_daemon("node")
    folders.usable(settings.spool_dir, "spool directory", "--spool-dir or TELEMETRYD_SPOOL_DIR")
    from telemetryd.node.agent import serve

    return serve(settings)
