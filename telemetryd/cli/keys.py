"""`telemetryd keys`: makes, lists and changes the keys by which clients reach the daemon over TCP.

The secret parts are in files alone: never printed, never an argument.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from telemetryd.cli import exit_codes, options
from telemetryd.cli.extras import require_daemon
from telemetryd.errors import KeysError

ACTIONS = {"add": 1, "remove": 1, "rotate": 0, "switch": 0}
"""What can be done, and how many names it takes."""


def run(arguments: argparse.Namespace) -> int:
    """0 once it is done. Raises SettingsError, KeysError or MissingExtraError."""
    folder = options.loaded(arguments).settings.keys_dir
    require_daemon("keys")
    action, names = arguments.action, arguments.names
    if action is not None and len(names) != ACTIONS[action]:
        raise KeysError(f"write `telemetryd keys {action}{' NAME' * ACTIONS[action]}`")
    for line in _do(action, names, folder):
        print(line)
    return exit_codes.OK


def _do(action: str | None, names: Sequence[str], folder: Path) -> list[str]:
    from telemetryd.reception import keys
    from telemetryd.reception.socket import make_pair

    if action == "add":
        path = keys.add(folder, names[0], make_pair)
        return [f"{path}", "copy it to the client's machine, and name it there with TELEMETRYD_KEY_FILE"]
    if action == "remove":
        keys.remove(folder, names[0])
        return [f"{names[0]} is let in no longer; a daemon that serves sees it within a second"]
    if action == "rotate":
        written = keys.rotate(folder, make_pair)
        return [*map(str, written), "copy these again; then `telemetryd keys switch` changes the daemon's key"]
    if action == "switch":
        written = keys.switch(folder)
        return [*map(str, written), "the daemon's key is changed; clients come back by themselves"]
    made = keys.prepare(folder, make_pair)
    lines = [f"{'made' if made else 'keys are'} in {folder}"]
    for name in sorted(keys.clients(folder).values()):
        path = keys.client_file(folder, name)
        lines.append(f"  client {name}: {path if path.exists() else 'its file is elsewhere'}")
    return lines
