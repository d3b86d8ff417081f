"""`Classes`: what the numbers in masks and boxes stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from client.media.base import Media


class Classes(Media):
    """Class labels: `Classes([{"id": 0, "name": "cat"}])`. Raises AssertionError for an entry without id and name."""

    _log_type = "classes"

    def __init__(self, class_set: Sequence[dict[str, Any]]) -> None:
        for entry in class_set:
            assert "id" in entry
            assert "name" in entry
        self._class_set = [dict(entry) for entry in class_set]

    def _wire(self) -> tuple[str, dict[str, Any]]:
        return "Classes", {"class_set": self._class_set}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Classes) and self._class_set == other._class_set

    __hash__ = None  # type: ignore[assignment]
