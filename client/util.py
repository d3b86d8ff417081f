"""The functions of `wandb.util` that scripts use and that need no wandb."""

from __future__ import annotations

import re
import string
import sys
from types import ModuleType
from typing import Any

from client.errors import Error, MissingFeatureError
from client.tokens import choice

_ID_CHARACTERS = string.ascii_lowercase + string.digits


def generate_id(length: int = 8) -> str:
    """A random str of a-z and 0-9, as a run's id is made."""
    return "".join(choice(_ID_CHARACTERS) for _ in range(length))


def random_string(length: int = 12) -> str:
    """A random str of a-z and 0-9."""
    return generate_id(length)


def make_artifact_name_safe(name: str) -> str:
    """The name with everything but letters, digits, `_`, `-` and `.` replaced by `_`, at most 128 characters long."""
    cleaned = re.sub(r"[^a-zA-Z0-9_\-.]", "_", name)
    return cleaned if len(cleaned) <= 128 else re.sub(r"(^.{63}).*(.{63}$)", r"\g<1>..\g<2>", cleaned)


def to_forward_slash_path(path: str) -> str:
    """The path itself: telemetryd runs on Linux only."""
    return path


def get_module(name: str, required: str | bool | None = None, lazy: bool = True) -> ModuleType | None:
    """A module that the program has imported. Nothing is imported here: None, or Error with the text of `required`."""
    module = sys.modules.get(name)
    if module is None and required:
        raise Error(required if isinstance(required, str) else f"{name} is not imported")
    return module


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    known = sorted(key for key, value in globals().items() if getattr(value, "__module__", "") == __name__)
    raise MissingFeatureError(
        f"wandb.util.{name} belongs to wandb's own package, which the daemon has and the training process has not;"
        f" client.util has {', '.join(known)}"
    )
