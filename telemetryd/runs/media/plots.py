"""Plots, histograms, graphs and pages."""

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


def histogram(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.Histogram."""
    return data_types().Histogram(**builder.arguments(args))


def html(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.Html. Text is never taken for a path here: training has said which it is."""
    from_file = getattr(args["data"], "kind", None) == "file"
    return data_types().Html(**builder.arguments(args), data_is_not_path=not from_file)


def graph(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.Graph."""
    types = data_types()
    made = types.Graph(format=args["format"])
    for attributes in builder.build(args["nodes"]):
        node = types.Node()
        node._attributes = attributes
        made.add_node(node)
    for start, end in builder.build(args["edges"]):
        made.add_edge(made[start], made[end])
    return made
