"""The allow-list: what may be constructed, by the kind's name on the wire."""

from __future__ import annotations

from telemetryd.runs.media import images, parts, plots
from telemetryd.runs.media.builder import Build

KINDS: dict[str, Build] = {
    "BoundingBoxes2D": images.bounding_boxes,
    "Classes": images.classes,
    "Image": images.image,
    "ImageMask": images.image_mask,
    "Plotly": plots.plotly,
    "array": parts.array,
    "encoded": parts.encoded,
    "file": parts.file,
    "picture": parts.picture,
}
