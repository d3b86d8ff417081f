"""matplotlib and plotly figures. They are live objects: what they show is fixed here, on the caller's thread."""

from __future__ import annotations

import importlib
import io
import sys
from types import ModuleType
from typing import Any

from client.errors import Error
from client.media.base import Part
from client.payload import Payload


def type_name(value: Any) -> str:
    """The full name of a value's type, of a module its own: as wandb tells what a figure is."""
    if isinstance(value, ModuleType):
        return value.__name__
    return f"{type(value).__module__}.{type(value).__name__}"


def is_matplotlib(value: Any) -> bool:
    """Whether it is something of matplotlib's: a figure, axes, pyplot itself."""
    return type_name(value).startswith("matplotlib.")


def is_plotly(value: Any) -> bool:
    """Whether it is something of plotly's."""
    return type_name(value).startswith("plotly.")


def figure_of(value: Any) -> Any:
    """The matplotlib figure that it is or belongs to. Raises ValueError where there is none."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    figure_type = sys.modules["matplotlib.figure"].Figure
    if pyplot is not None and value is pyplot:
        return pyplot.gcf()
    figure = value if isinstance(value, figure_type) else getattr(value, "figure", None)
    if isinstance(figure, figure_type):
        return figure
    raise ValueError("Only matplotlib.pyplot or matplotlib.pyplot.Figure objects are accepted.")


def drawn(value: Any, file_type: str) -> Part:
    """The figure as matplotlib draws it: milliseconds, and only the compression is left to the daemon."""
    buffer = io.BytesIO()
    if file_type == "png":
        figure_of(value).savefig(buffer, format="png", pil_kwargs={"compress_level": 0})
    else:
        figure_of(value).savefig(buffer, format=file_type)
    return Part("encoded", data=Payload(buffer.getbuffer()))


def contains_images(value: Any) -> bool:
    """Whether any of a matplotlib figure's axes shows an image, which plotly has no word for."""
    return any(len(axes.images) > 0 for axes in figure_of(value).axes)


def to_plotly(value: Any) -> Any:
    """A matplotlib figure as a plotly one, by plotly itself as in wandb. Raises Error where it is not installed."""
    try:
        tools = importlib.import_module("plotly.tools")
    except ImportError:
        raise Error(
            "plotly is required to log interactive plots, install with: `pip install plotly` or convert the plot to"
            " an image with `wandb.Image(plt)`"
        ) from None
    return tools.mpl_to_plotly(_with_frames(figure_of(value)))


def _with_frames(figure: Any) -> Any:
    """plotly asks spines for a method that newer versions of matplotlib have no more; wandb gives it to them, too."""

    def is_frame_like(self: Any) -> bool:
        position = self._position or ("outward", 0.0)
        if isinstance(position, str):
            position = ("axes", 0.5) if position == "center" else ("data", 0)
        if len(position) != 2:
            raise ValueError("position should be 2-tuple")
        return bool(position[0] == "outward" and position[1] == 0)

    sys.modules["matplotlib.spines"].Spine.is_frame_like = is_frame_like
    return figure
