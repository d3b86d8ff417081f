"""What stands within the arguments of media values: arrays, files, pictures of PIL's."""

from __future__ import annotations

import io
from typing import Any

from telemetryd.runs.media.builder import MediaBuilder


def array(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """A numpy array of its own memory. Raises ImportError without numpy, ValueError where size and shape differ."""
    import numpy as np

    data = builder.build(args["data"])
    return np.frombuffer(bytearray(data), dtype=np.dtype(args["dtype"])).reshape(args["shape"])


def file(args: dict[str, Any], builder: MediaBuilder) -> str:
    """The path of a temporary file with the content."""
    return str(builder.file(args["name"], builder.build(args["data"])))


def picture(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """A PIL image of raw pixels. Raises ImportError without pillow."""
    from PIL import Image, ImagePalette

    image = Image.frombytes(args["mode"], tuple(args["size"]), bytes(builder.build(args["data"])))
    if "palette" in args:
        mode, colours = args["palette"]
        image.palette = ImagePalette.ImagePalette(mode, colours)
        image.putpalette(colours, mode)
    image.info.update(args.get("info", {}))
    return image


def encoded(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """A PIL image that is a file's bytes. Raises ImportError without pillow."""
    from PIL import Image

    return Image.open(io.BytesIO(builder.build(args["data"])))


def text(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """A str, or with `io` an open text file."""
    content = bytes(builder.build(args["data"])).decode("utf-8", "surrogatepass")
    return io.StringIO(content) if args.get("io") else content
