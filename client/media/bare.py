"""What may be logged as it is, and becomes a media value as in wandb: figures of matplotlib and plotly."""

from __future__ import annotations

from typing import Any

from client.media import figures
from client.media.image import Image
from client.media.plotly import Plotly
from client.tables import Table
from client.tables.recognise import is_dataframe


def is_media(value: Any) -> bool:
    """Whether `media_of` makes something else of it."""
    return figures.is_plotly(value) or figures.is_matplotlib(value) or is_dataframe(value)


def media_of(value: Any) -> Any:
    """The media value that wandb makes of it; the value itself where it makes none."""
    if figures.is_plotly(value):
        return Plotly(value)
    if figures.is_matplotlib(value):
        return Image(value) if figures.contains_images(value) else Plotly(value)
    return Table(dataframe=value) if is_dataframe(value) else value
