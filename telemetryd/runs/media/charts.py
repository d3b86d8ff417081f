"""Charts: a table under one key of the row, and how W&B draws it in the run's config."""

from __future__ import annotations

from typing import Any

from telemetryd.runs.media import door
from telemetryd.runs.media.builder import MediaBuilder
from telemetryd.runs.media.errors import PLOTS_MISSING, REFUSED, MediaLostError

INSTALL = "pip install 'telemetryd[plots]'"


def custom_chart(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.plot.CustomChart; its table is still what to construct, because it may have been logged before."""
    chart_spec, _ = door.chart_specs()
    spec = chart_spec(
        spec_name=args["spec_name"],
        fields=builder.build(args["fields"]),
        string_fields=builder.build(args["string_fields"]),
        panel_type=args["panel_type"],
        split_table=args["split_table"],
    )
    return door.plot().CustomChart(table=args["table"], spec=spec)


def visualize(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.plot.Visualize, with its table as above."""
    _, panel_spec = door.chart_specs()
    return door.plot().Visualize(table=args["table"], spec=panel_spec(name=args["name"]))


def pr_curve(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """What wandb.plot.pr_curve makes of labels and probabilities."""
    return _curve("pr_curve", builder.arguments(args))


def roc_curve(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """What wandb.plot.roc_curve makes of labels and probabilities."""
    return _curve("roc_curve", builder.arguments(args))


def _curve(name: str, arguments: dict[str, Any]) -> Any:
    try:
        chart = getattr(door.plot(), name)(**arguments)
    except Exception as error:
        if isinstance(error, ImportError) or door.is_wandb_error(error):
            raise MediaLostError(PLOTS_MISSING, f"{error}; {INSTALL} beside the daemon") from error
        raise
    if chart is None:
        raise MediaLostError(REFUSED, f"wandb.plot.{name} made no chart of its arguments")
    return chart
