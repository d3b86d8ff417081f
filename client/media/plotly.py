"""`Plotly`: an interactive plot, from plotly's figures or from matplotlib's by way of plotly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from client import tensors
from client.media import arrays, figures
from client.media.base import Media


class Plotly(Media):
    """A plotly figure, or a matplotlib one that plotly can convert.

    The figure's description is taken here: plotly makes a copy of it. A matplotlib figure is converted here too, which
    takes tens of milliseconds and, the first time, the import of plotly.

    Raises ValueError for anything else and for matplotlib figures that show images, Error where plotly is missing.
    """

    _log_type = "plotly-file"

    def __init__(self, val: Any) -> None:
        name = figures.type_name(val)
        if not (name.startswith("plotly.") and name.endswith(".Figure")):
            if not figures.is_matplotlib(val):
                raise ValueError(
                    "Logged plots must be plotly figures, or matplotlib plots convertible to plotly via mpl_to_plotly"
                )
            if figures.contains_images(val):
                raise ValueError(
                    "Plotly does not currently support converting matplotlib figures containing images."
                    " You can convert the plot to a static image with `wandb.Image(plt)`"
                )
            val = figures.to_plotly(val)
        self._figure = _captured(val.to_plotly_json())

    @classmethod
    def make_plot_media(cls, val: Any) -> Media:
        """What logging the figure as it is makes of it: an Image where plotly has no word for what it shows."""
        from client.media.bare import media_of

        media: Media = media_of(val)
        return media

    def _wire(self) -> tuple[str, dict[str, Any]]:
        return "Plotly", {"figure": self._figure}


def _captured(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _captured(item) for key, item in value.items()}
    if tensors.is_array(value):
        return arrays.capture(value) if value.dtype.kind in "biuf" else _captured(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_captured(item) for item in value]
    return value
