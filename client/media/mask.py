"""`ImageMask`: a class number for each pixel of an image."""

from __future__ import annotations

from typing import Any

from client import tensors
from client.media import arrays, files
from client.media.base import Media
from client.media.boxes import check_class_labels


class ImageMask(Media):
    """`val` is {"mask_data": 2D array of 0 to 255, "class_labels": {0: "road"}} or {"path": file}, `key` its name.

    Raises TypeError for what is not of that form, OSError for a file that cannot be read.
    """

    _log_type = "mask"

    def __init__(self, val: dict[str, Any], key: str) -> None:
        self._key = key
        self._val: dict[str, Any] = {}
        if "path" in val:
            self._val["path"] = files.capture(val["path"])
            return
        self.validate(val)
        self._val["mask_data"] = arrays.capture(val["mask_data"])
        if "class_labels" in val:
            self._val["class_labels"] = dict(val["class_labels"])

    def _wire(self) -> tuple[str, dict[str, Any]]:
        return "ImageMask", {"val": self._val, "key": self._key}

    def validate(self, val: dict[str, Any]) -> bool:
        """True, or a TypeError that says what is wrong. Looks at every number unless they are bytes."""
        if "mask_data" not in val:
            raise TypeError(
                'Missing key "mask_data": An image mask requires mask data: a 2D array representing the predictions'
            )
        data = val["mask_data"]
        if len(data.shape) != 2:
            raise TypeError("mask_data must be a 2D array")
        if not tensors.is_bytes(data) and not (bool((data >= 0).all()) and bool((data <= 255).all())):
            raise TypeError("Mask data must be integers between 0 and 255")
        check_class_labels(val.get("class_labels", {}))
        return True
