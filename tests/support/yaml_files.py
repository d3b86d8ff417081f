"""Reads YAML files in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Compose's own tags stand for nothing."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


def load_yaml(path: Path) -> Any:
    """The file's one document."""
    (document,) = load_all_yaml(path)
    return document


def load_all_yaml(path: Path) -> list[Any]:
    """The file's documents, without empty ones."""
    return [document for document in yaml.load_all(path.read_text(), _Loader) if document is not None]
