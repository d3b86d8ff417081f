"""Settings out of their sources: defaults < config file < environment < flags.

The config file is the one that was named, else $XDG_CONFIG_HOME/telemetryd/config.toml (~/.config/… by default) where
it exists. Every error names the source that is to be mended.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client import places
from telemetryd.errors import SettingsError
from telemetryd.settings.fields import BY_NAME, FIELDS, Field
from telemetryd.settings.settings import DaemonSettings


@dataclass(frozen=True)
class Loaded:
    """Settings, and for each that was given, the source it came from ("--late", "environment …", "config file …")."""

    settings: DaemonSettings
    sources: Mapping[str, str]


def load(
    flags: Mapping[str, Any] | None = None,
    config: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Loaded:
    """The settings that all sources add up to. `flags` holds what the command line gave, by setting name, unparsed.

    Raises SettingsError, which names the source, where a setting is unknown or its value cannot be.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, value, source in [*_from_file(config, environ), *_from_environment(environ), *_from_flags(flags or {})]:
        values[name] = _parse(BY_NAME[name], value, source)
        sources[name] = source
    for field in FIELDS:
        if field.name not in values:
            values[field.name] = _default(field, values, environ)
    return Loaded(DaemonSettings(**values), sources)


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The config file that is read when none is named."""
    base = environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "telemetryd" / "config.toml"


def _parse(field: Field, value: Any, source: str) -> Any:
    try:
        return field.parse(value)
    except ValueError as error:
        shown = "" if str(value) in str(error) else f" {value!r}"
        raise SettingsError(f"{source}: {field.name}{shown} {error}") from None


def _default(field: Field, values: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
    """A setting nobody gave. The spool lies in the state folder, wherever that was put."""
    bare = {name: value for name, value in environ.items() if not name.startswith("TELEMETRYD_")}
    if field.name == "endpoint":
        return _parse(field, places.endpoint(bare), "the default (XDG_RUNTIME_DIR or the temp folder)")
    if field.name == "state_dir":
        return _parse(field, places.state_dir(bare), "the default (XDG_STATE_HOME)")
    if field.name == "keys_dir":
        return values["state_dir"] / "keys"
    if field.name == "spool_dir":
        return places.spool_dir({**bare, "TELEMETRYD_STATE_DIR": str(values["state_dir"])})
    return field.default


def _from_flags(flags: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    return [(name, value, BY_NAME[name].flag) for name, value in flags.items() if value is not None]


def _from_environment(environ: Mapping[str, str]) -> list[tuple[str, Any, str]]:
    found = [(field, environ.get(field.env)) for field in FIELDS]
    return [(field.name, text, f"environment variable {field.env}") for field, text in found if text]


def _from_file(config: Path | None, environ: Mapping[str, str]) -> list[tuple[str, Any, str]]:
    path = config or config_path(environ)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if config is None:
            return []
        raise SettingsError(f"config file {path} does not exist: check the path given to --config") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"config file {path} cannot be read: {error}") from None
    entries = []
    for key, value in _toml(path, text).items():
        source = f"config file {path}{_line(text, key)}"
        if key not in BY_NAME:
            raise SettingsError(f"{source}: unknown setting {key!r}{_nearest(key)}")
        entries.append((key, value, source))
    return entries


def _toml(path: Path, text: str) -> dict[str, Any]:
    for module in ("tomllib", "tomli"):  # tomllib came with Python 3.11
        try:
            toml = importlib.import_module(module)
        except ImportError:
            continue
        try:
            parsed: dict[str, Any] = toml.loads(text)
        except ValueError as error:
            raise SettingsError(f"config file {path} is no TOML: {error}") from None
        return parsed
    raise SettingsError(f"config file {path}: Python 3.10 needs tomli to read it: pip install 'telemetryd[daemon]'")


def _line(text: str, key: str) -> str:
    """Where a key stands, as ", line 3"; TOML parsers do not tell."""
    pattern = re.compile(rf"""\s*\[*\s*["']?{re.escape(key)}["']?\s*[.=\]]""")
    for number, line in enumerate(text.splitlines(), start=1):
        if pattern.match(line):
            return f", line {number}"
    return ""


def _nearest(key: str) -> str:
    near = difflib.get_close_matches(key, BY_NAME, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; the settings are {', '.join(BY_NAME)}"
