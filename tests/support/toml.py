"""TOML on every Python we support: the standard library reads it from 3.11 on."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any


def load_toml(path: Path) -> dict[str, Any]:
    """A TOML file's content."""
    module = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    loaded: dict[str, Any] = module.loads(path.read_text())
    return loaded
