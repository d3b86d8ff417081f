"""`telemetryd push`: ships what dead processes left in this machine's spool to the daemon at the endpoint."""

from __future__ import annotations

import argparse

from client.push import push_all
from telemetryd.cli import exit_codes, options
from telemetryd.cli.limits import PUSH_TIMEOUT_S


def run(arguments: argparse.Namespace) -> int:
    """0 when nothing is left, else 1. Raises SettingsError."""
    settings = options.loaded(arguments).settings
    left = count = 0
    for pushed in push_all(settings.spool_dir, settings.endpoint, PUSH_TIMEOUT_S):
        if pushed.trouble is None:
            count += 1
            print(f"session {pushed.session}: {pushed.records} records delivered")
        else:
            left += 1
            print(f"session {pushed.session}: stays in {settings.spool_dir}: {pushed.trouble}")
    if not left and not count:
        print(f"nothing of dead processes lies in {settings.spool_dir}")
    return exit_codes.FAILED if left else exit_codes.OK
