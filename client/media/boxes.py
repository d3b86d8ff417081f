"""`BoundingBoxes2D`: boxes over an image. Checked as wandb checks them."""

from __future__ import annotations

import copy
import numbers
from typing import Any

from client import tensors
from client.media.base import Media

_NEEDS = "Each box must contain a position with: middle, width, and height or minX, maxX, minY, maxY."


class BoundingBoxes2D(Media):
    """`val` is {"box_data": [{"position": {...}, "class_id": 1, ...}], "class_labels": {1: "car"}}, `key` its name.

    Raises TypeError, KeyError for what is not of that form.
    """

    _log_type = "bounding-boxes"

    def __init__(self, val: dict[str, Any], key: str) -> None:
        for box in val.get("box_data", []):
            position = box.get("position", {})
            if "middle" in position and tensors.is_torch(position["middle"]):
                position["middle"] = position["middle"].tolist()
        self.validate(val)
        self._val = copy.deepcopy(val)
        self._key = key

    def _wire(self) -> tuple[str, dict[str, Any]]:
        return "BoundingBoxes2D", {"val": self._val, "key": self._key}

    def validate(self, val: dict[str, Any]) -> bool:
        """True, or a TypeError that says what is wrong."""
        check_class_labels(val.get("class_labels", {}))
        boxes = val["box_data"]
        if not isinstance(boxes, list):
            raise TypeError("Boxes must be a list")
        for box in boxes:
            _check_box(box)
        return True


def check_class_labels(labels: Any) -> None:
    """Raises TypeError unless it maps numbers to str."""
    for number, name in labels.items():
        if not isinstance(number, numbers.Number) or not isinstance(name, str):
            raise TypeError("Class labels must be a dictionary of numbers to string")


def _check_box(box: dict[str, Any]) -> None:
    position = box.get("position")
    if position is None:
        raise TypeError(_NEEDS)
    by_middle = "middle" in position and len(position["middle"]) == 2 and _numbers(position, "width", "height")
    if not by_middle and not _numbers(position, "minX", "maxX", "minY", "maxY"):
        raise TypeError(_NEEDS)
    scores = box.get("scores", {})
    if not isinstance(scores, dict):
        raise TypeError("Box scores must be a dictionary")
    for key, value in scores.items():
        if not isinstance(key, str):
            raise TypeError("A score key must be a string")
        if not isinstance(value, numbers.Number):
            raise TypeError("A score value must be a number")
    if "class_id" in box and not isinstance(box["class_id"], int):
        raise TypeError("A box's class_id must be an integer")
    if "box_caption" in box and not isinstance(box["box_caption"], str):
        raise TypeError("A box's caption must be a string")


def _numbers(position: dict[str, Any], *keys: str) -> bool:
    return all(key in position and isinstance(position[key], numbers.Number) for key in keys)
