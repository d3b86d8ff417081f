"""Which sweep is meant: "SWEEP", "PROJECT/SWEEP" or "ENTITY/PROJECT/SWEEP", as in wandb."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.errors import UsageError

SWEEP_ID = "WANDB_SWEEP_ID"
PARAM_PATH = "WANDB_SWEEP_PARAM_PATH"


@dataclass(frozen=True)
class SweepPath:
    """A sweep; an entity or project that is not known is W&B's default."""

    sweep: str
    entity: str | None = None
    project: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.entity, self.project, self.sweep) if part)


def parse(
    text: Any, entity: str | None = None, project: str | None = None, environ: Mapping[str, str] = os.environ
) -> SweepPath:
    """The sweep that is named; what it lacks is from the arguments, then from the environment. Raises UsageError."""
    if not isinstance(text, str) or not text.strip():
        raise UsageError("Expected string sweep_id: what client.sweep() returned, or ENTITY/PROJECT/SWEEP")
    parts = text.split("/")
    if len(parts) > 3 or not parts[-1]:
        raise UsageError(f"Expected sweep_id in form of sweep, project/sweep, or entity/project/sweep; it is {text!r}")
    sweep = parts[-1]
    project = (parts[-2] if len(parts) > 1 else "") or project or environ.get("WANDB_PROJECT")
    entity = (parts[-3] if len(parts) > 2 else "") or entity or environ.get("WANDB_ENTITY")
    return SweepPath(sweep, entity or None, project or None)


def trial_environment(path: SweepPath, run_id: str, params: Path) -> dict[str, str]:
    """What tells a trial's process which run it is, as wandb's agent tells it."""
    told = {SWEEP_ID: path.sweep, "WANDB_RUN_ID": run_id, PARAM_PATH: str(params)}
    if path.entity:
        told["WANDB_ENTITY"] = path.entity
    if path.project:
        told["WANDB_PROJECT"] = path.project
    return told


def write_params(path: SweepPath, run_id: str, config: Mapping[str, Any]) -> Path:
    """The file of a trial's parameters, where wandb's agent puts it: {name: {"value": ...}}, as JSON, which is YAML.
    Raises OSError."""
    base = Path(os.environ.get("WANDB_DIR") or Path.cwd()).expanduser().absolute()
    file = base / "wandb" / f"sweep-{path.sweep}" / f"config-{run_id}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_as_json({"wandb_version": 1, **config}) + "\n", encoding="utf-8")
    return file


def _as_json(value: Any) -> str:
    """JSON that YAML reads as the same: it takes 1e-05 for a text, and 1.0e-05 for a number."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(key))}: {_as_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_as_json, value)) + "]"
    if isinstance(value, float) and "." not in repr(value):
        return repr(value).replace("e", ".0e")
    return json.dumps(value)
