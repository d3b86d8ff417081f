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
from client.tables import JoinedTable, Table

__all__ = [
    "BatchableMedia",
    "BoundingBoxes2D",
    "Classes",
    "Image",
    "ImageMask",
    "JoinedTable",
    "Media",
    "Plotly",
    "Table",
    "WBValue",
]
