"""`Image`: pixels, a picture in memory, a file or a live figure, with what is drawn over it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from client import tensors
from client.media import arrays, figures, files, pictures
from client.media.base import BatchableMedia, Part
from client.media.boxes import BoundingBoxes2D
from client.media.classes import Classes
from client.media.mask import ImageMask

log = logging.getLogger("telemetryd.client")

FILE_TYPES = ["png", "jpg", "jpeg", "bmp"]


class Image(BatchableMedia):
    """An image, as in wandb.

    `data_or_path`: a numpy array (height, width[, channels]) or torch tensor (channels, height, width) of numbers in
    0..255, a PIL image, a matplotlib figure, a path, or another Image. Captured here: arrays by one copy, files by
    reading them, a figure by drawing it. The encoding as `file_type` ("png") is the daemon's.

    Raises ValueError for shapes that are no image and file types other than png, jpg, jpeg, bmp; OSError for a file
    that cannot be read; TypeError as BoundingBoxes2D and ImageMask do.
    """

    MAX_ITEMS = 108
    MAX_DIMENSION = 65500
    _log_type = "image-file"

    def __init__(
        self,
        data_or_path: Any,
        mode: str | None = None,
        caption: str | None = None,
        grouping: int | None = None,
        classes: Classes | Sequence[dict[str, Any]] | None = None,
        boxes: dict[str, BoundingBoxes2D] | dict[str, dict[str, Any]] | None = None,
        masks: dict[str, ImageMask] | dict[str, dict[str, Any]] | None = None,
        file_type: str | None = None,
    ) -> None:
        self._args: dict[str, Any] = {}
        if isinstance(data_or_path, Image):
            of_image = ("data_or_path", "layout", "mode", "file_type", "caption", "grouping", "classes")
            self._args = {name: data_or_path._args[name] for name in of_image if name in data_or_path._args}
            caption = None  # as in wandb, the other image's stays
        elif isinstance(data_or_path, (str, Path)):
            reference = files.is_reference(data_or_path)
            self._args["data_or_path"] = str(data_or_path) if reference else files.capture(os.fspath(data_or_path))
        else:
            self._capture(data_or_path, mode, file_type)
        if boxes or masks or not (caption is None and grouping is None and classes is None):
            self._describe(caption, grouping, classes, boxes, masks)

    def _capture(self, data: Any, mode: str | None, file_type: str | None) -> None:
        if file_type and file_type not in FILE_TYPES:
            raise ValueError(f"file_type must be one of {FILE_TYPES}")
        captured: Part
        if tensors.is_numpy(data):
            mode, captured = self._pixels(data, mode, file_type)
        elif figures.is_matplotlib(data):
            captured = figures.drawn(data, file_type or "png")
        elif pictures.is_picture(data):
            captured = pictures.capture(data)
        elif tensors.is_torch(data):
            mode = mode or self.guess_mode(data, file_type)
            data.permute(1, 2, 0)  # a view: raises as wandb does for a tensor that has not three dimensions
            self._args["layout"] = "CHW"
            captured = arrays.capture(data)
        else:
            mode, captured = self._pixels(data.numpy() if hasattr(data, "numpy") else data, mode, file_type)
        self._args["data_or_path"] = captured
        if mode is not None:
            self._args["mode"] = mode
        if file_type:
            self._args["file_type"] = file_type

    def _pixels(self, data: Any, mode: str | None, file_type: str | None) -> tuple[str, Part]:
        shape = data.shape
        if len(shape) > 2 and 1 in shape:
            data = data.squeeze()
            shape = data.shape
        mode = mode or _mode(shape, shape[-1], file_type)
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (2, 3, 4)):
            raise TypeError(f"Cannot handle this data type: an array of shape {list(shape)} is no image")
        return mode, arrays.capture(data)

    def _describe(self, caption: Any, grouping: Any, classes: Any, boxes: Any, masks: Any) -> None:
        if caption is not None:
            self._args["caption"] = caption
        if grouping is not None:
            self._args["grouping"] = grouping
        if boxes:
            if not isinstance(boxes, dict):
                raise ValueError('Images "boxes" argument must be a dictionary')
            self._args["boxes"] = {
                key: box if isinstance(box, BoundingBoxes2D) else BoundingBoxes2D(box, key)
                for key, box in boxes.items()
            }
        if masks:
            if not isinstance(masks, dict):
                raise ValueError('Images "masks" argument must be a dictionary')
            self._args["masks"] = {
                key: mask if isinstance(mask, ImageMask) else ImageMask(mask, key) for key, mask in masks.items()
            }
        if classes is not None:
            self._args["classes"] = (
                classes
                if isinstance(classes, Classes)
                else [{"id": entry["id"], "name": entry["name"]} for entry in classes]
            )

    def guess_mode(self, data: Any, file_type: str | None = None) -> str:
        """The PIL mode that the shape speaks of. Raises ValueError where it speaks of none."""
        return _mode(data.shape, data.shape[0] if tensors.is_torch(data) else data.shape[-1], file_type)

    @classmethod
    def _warn_of_list(cls, items: Sequence[Image]) -> None:
        if len(items) > cls.MAX_ITEMS:
            log.warning("Only %d Image will be uploaded.", cls.MAX_ITEMS)
        sizes = {size for item in items[: cls.MAX_ITEMS] if (size := item._size()) is not None}
        if len(sizes) > 1:
            log.warning("Images sizes do not match. This will causes images to be display incorrectly in the UI.")

    def _size(self) -> tuple[int, int] | None:
        """(width, height) in pixels, where that is known without decoding: not of files and figures."""
        data = self._args["data_or_path"]
        if not isinstance(data, Part):
            return None
        if data._kind == "array":
            height, width = data._args["shape"][1:] if "layout" in self._args else data._args["shape"][:2]
            return width, height
        return tuple(data._args["size"]) if data._kind == "picture" else None

    def _check_run(self) -> None:
        if isinstance(self._args["data_or_path"], str):
            text = "Image media created by a reference to external storage cannot currently be added to a run"
            raise ValueError(text)  # noqa: TRY004 - as wandb

    def _wire(self) -> tuple[str, dict[str, Any]]:
        return "Image", self._args


def _mode(shape: Sequence[int], channels: int, file_type: str | None) -> str:
    if len(shape) == 2 or channels == 1:
        return "L"
    if channels == 3:
        return "RGB"
    if channels == 4:
        if file_type in ("jpg", "jpeg"):
            log.warning("JPEG format does not support transparency. Ignoring alpha channel.")
            return "RGB"
        return "RGBA"
    raise ValueError(f"Un-supported shape for image conversion {list(shape)}")
