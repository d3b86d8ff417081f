"""wandb.data_types: every media type under the name that it has there."""

from __future__ import annotations

from client.media import (
    BatchableMedia,
    BoundingBoxes2D,
    Classes,
    Image,
    ImageMask,
    Media,
    Plotly,
    WBValue,
)

__all__ = [
    "BatchableMedia",
    "BoundingBoxes2D",
    "Classes",
    "Image",
    "ImageMask",
    "Media",
    "Plotly",
    "WBValue",
]
