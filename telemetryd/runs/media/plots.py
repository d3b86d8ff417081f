"""Interactive plots."""

from __future__ import annotations

from typing import Any

from telemetryd.runs.media.builder import MediaBuilder
from telemetryd.runs.media.door import data_types


class Figure:
    """Stands for a plotly figure, which wandb tells by the name of its type and asks for its description only."""

    def __init__(self, description: Any) -> None:
        self._description = description

    def to_plotly_json(self) -> Any:
        """The description."""
        return self._description


Figure.__module__ = "plotly.graph_objs._figure"


def plotly(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.Plotly; plotly itself is not needed here."""
    return data_types().Plotly(Figure(builder.build(args["figure"])))
