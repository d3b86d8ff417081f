"""Media values: wandb's data types as *what to construct*, captured when wandb captures, encoded by the daemon.

One noun per file. A type checks its arguments as wandb does, copies the caller's bytes once (payload.py), and tells in
`_wire` its kind and arguments; docs/media.md has every type with what it costs. `base.py` says how to add one.
"""

from __future__ import annotations

from client.media.base import BatchableMedia, Media, WBValue
from client.media.boxes import BoundingBoxes2D
from client.media.classes import Classes
from client.media.image import Image
from client.media.mask import ImageMask
from client.media.plotly import Plotly

__all__ = ["BatchableMedia", "BoundingBoxes2D", "Classes", "Image", "ImageMask", "Media", "Plotly", "WBValue"]
