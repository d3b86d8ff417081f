"""The command of a sweep's configuration: its macros filled in with a trial's parameters, as wandb's agent does."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
_VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")


def command_line(
    command: Sequence[str],
    config: Mapping[str, Mapping[str, Any]],
    *,
    program: str | None,
    args_file: Path,
    environ: Mapping[str, str],
) -> list[str]:
    """The words of the command. A macro that nobody knows is left out, as in wandb. `args_file` is written where
    `${args_json_file}` asks for it. Raises ValueError where the program is asked for and not known."""
    line: list[str] = []
    for word in command:
        word = _VARIABLE.sub(lambda found: environ.get(found[1], found[1]), str(word))
        if not (word.startswith("${") and word.endswith("}")):
            line.append(word)
            continue
        name = word[2:-1]
        if name == "program" and not program:
            raise ValueError("the sweep's configuration names no program: give the command after --")
        if name == "args_json_file":
            args_file.write_text(_as_json(config), encoding="utf-8")
        line += _macros(config, program, args_file).get(name, [])
    return line


def _macros(config: Mapping[str, Mapping[str, Any]], program: str | None, args_file: Path) -> dict[str, list[str]]:
    values = {name: given["value"] for name, given in config.items()}
    plain = [f"{name}={value}" for name, value in values.items()]
    return {
        "env": ["/usr/bin/env"],
        "interpreter": ["python"],
        "program": [program or ""],
        "args": [f"--{flag}" for flag in plain],
        "args_no_equals": [part for name, value in values.items() for part in (f"--{name}", str(value))],
        "args_no_hyphens": plain,
        "args_no_boolean_flags": [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in values.items()
            if value is not False
        ],
        "args_json": [_as_json(config)],
        "args_json_file": [str(args_file)],
        "args_append_hydra": [f"+{flag}" for flag in plain],
        "args_override_hydra": [f"++{flag}" for flag in plain],
    }


def _as_json(config: Mapping[str, Mapping[str, Any]]) -> str:
    return json.dumps({name: given["value"] for name, given in config.items()})
