"""Image and what is drawn over it."""

from __future__ import annotations

from typing import Any

from telemetryd.runs.media import sources
from telemetryd.runs.media.builder import MediaBuilder
from telemetryd.runs.media.door import data_types


def image(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.Image. A tensor's channels come first; numpy's last."""
    arguments = sources.arguments(args, builder)
    for mask in (arguments.get("masks") or {}).values():
        if isinstance(mask, dict):  # wandb would make an ImageMask of it
            sources.check(None, mask.get("path"))
    if arguments.pop("layout", None) == "CHW":
        arguments["data_or_path"] = arguments["data_or_path"].transpose(1, 2, 0)
    return data_types().Image(**arguments)


def image_mask(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.data_types.ImageMask."""
    arguments = builder.arguments(args)
    if "path" in arguments["val"]:
        sources.check(args["val"]["path"], arguments["val"]["path"])
    return data_types().ImageMask(**arguments)


def bounding_boxes(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.data_types.BoundingBoxes2D."""
    return data_types().BoundingBoxes2D(**builder.arguments(args))


def classes(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.Classes."""
    return data_types().Classes(**builder.arguments(args))
