"""PIL images: their pixels as they lie in memory."""

from __future__ import annotations

import sys
from typing import Any

from client.media.base import Part
from client.payload import Payload

_KEPT_INFO = ("icc_profile", "comment", "exif")
"""What of an image's `info` PIL writes into a file by itself."""


def is_picture(value: Any) -> bool:
    """Whether it is a PIL image."""
    kind = getattr(sys.modules.get("PIL.Image"), "Image", None)
    return isinstance(kind, type) and isinstance(value, kind)


def capture(image: Any) -> Part:
    """The pixels of a PIL image. Reads them now where the image was opened and not loaded yet."""
    image.load()
    args: dict[str, Any] = {"mode": image.mode, "size": list(image.size), "data": Payload(memoryview(image.tobytes()))}
    if image.mode in ("P", "PA") and image.palette is not None:
        args["palette"] = [image.palette.mode, bytes(image.palette.palette)]
    info = {key: image.info[key] for key in _KEPT_INFO if isinstance(image.info.get(key), bytes)}
    if info:
        args["info"] = info
    return Part("picture", **args)
