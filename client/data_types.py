"""wandb.data_types: every media type under the name that it has there."""

from __future__ import annotations

from typing import Any

from client.errors import MissingFeatureError
from client.media.audio import Audio
from client.media.base import BatchableMedia, Media, WBValue
from client.media.boxes import BoundingBoxes2D
from client.media.classes import Classes
from client.media.graph import Graph, Node
from client.media.histogram import Histogram
from client.media.html import Html
from client.media.image import Image
from client.media.mask import ImageMask
from client.media.molecule import Molecule
from client.media.object3d import Object3D, box3d
from client.media.plotly import Plotly
from client.media.video import Video

_INSTEAD = {
    "Bokeh": "save the plot as a page and log Html(path)",
    "EvalTable": "log numbers and media under keys of their own",
    "JoinedTable": "log numbers and media under keys of their own",
    "PartitionedTable": "log numbers and media under keys of their own",
    "Table": "log numbers and media under keys of their own",
    "WBTraceTree": "log its spans as numbers and str",
    "_SavedModel": "save the model to a file of your own",
}


def __getattr__(name: str) -> Any:
    if name in _INSTEAD:
        raise MissingFeatureError(f"wandb.data_types.{name} is not supported by telemetryd: {_INSTEAD[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Audio",
    "BatchableMedia",
    "BoundingBoxes2D",
    "Classes",
    "Graph",
    "Histogram",
    "Html",
    "Image",
    "ImageMask",
    "Media",
    "Molecule",
    "Node",
    "Object3D",
    "Plotly",
    "Video",
    "WBValue",
    "box3d",
]
