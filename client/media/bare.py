"""What may be logged as it is, and becomes a media value as in wandb: figures of matplotlib and plotly, DataFrames.

The media type is loaded at the first such value.
"""

from __future__ import annotations

from typing import Any

from client.media import figures
from client.tensors import is_dataframe


def is_media(value: Any) -> bool:
    """Whether `media_of` makes something else of it."""
    return figures.is_plotly(value) or figures.is_matplotlib(value) or is_dataframe(value)


def media_of(value: Any) -> Any:
    """The media value that wandb makes of it; the value itself where it makes none."""
    if is_dataframe(value):
        from client.tables import Table

        return Table(dataframe=value)
    is_matplotlib = figures.is_matplotlib(value)
    if is_matplotlib and figures.contains_images(value):
        from client.media.image import Image

        return Image(value)
    if is_matplotlib or figures.is_plotly(value):
        from client.media.plotly import Plotly

        return Plotly(value)
    return value
