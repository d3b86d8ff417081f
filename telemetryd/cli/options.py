"""Settings as command line options, made from the table in telemetryd/settings/fields.py."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from telemetryd.settings import Loaded, load
from telemetryd.settings.fields import BY_NAME, FIELDS

PLACES = ("endpoint", "state_dir", "spool_dir")
"""What a command needs that only looks at a daemon."""

EVERYTHING = tuple(field.name for field in FIELDS)


def add(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Give a command --config and the flags of the named settings. Values stay text until `loaded` parses them."""
    group = parser.add_argument_group("settings", "each can also stand in the config file or the environment")
    group.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="a TOML file of settings (default: $XDG_CONFIG_HOME/telemetryd/config.toml where it exists)",
    )
    for name in names:
        field = BY_NAME[name]
        text = f"{field.help} [{field.env}]".replace("%", "%%")
        if field.metavar is None:
            group.add_argument(field.flag, dest=name, action="store_const", const="true", help=text)
        else:
            group.add_argument(field.flag, dest=name, metavar=field.metavar, help=text)


def loaded(arguments: argparse.Namespace) -> Loaded:
    """The settings of a parsed command line. Raises SettingsError."""
    flags = {name: getattr(arguments, name, None) for name in BY_NAME}
    return load(flags, arguments.config)
