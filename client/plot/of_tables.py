"""Charts that show a table as it is."""

from __future__ import annotations

from client.plot.chart import CustomChart, plot_table
from client.tables import Table


def line(
    table: Table, x: str, y: str, stroke: str | None = None, title: str = "", split_table: bool = False
) -> CustomChart:
    """Lines: `x` and `y` are columns, `stroke` the one that tells lines apart. Raises Error without a Table."""
    fields = {"x": x, "y": y, "stroke": stroke}
    return plot_table("wandb/line/v0", table, fields, {"title": title}, split_table)


def scatter(table: Table, x: str, y: str, title: str = "", split_table: bool = False) -> CustomChart:
    """Points: `x` and `y` are columns. Raises Error without a Table."""
    return plot_table("wandb/scatter/v0", table, {"x": x, "y": y}, {"title": title}, split_table)


def bar(table: Table, label: str, value: str, title: str = "", split_table: bool = False) -> CustomChart:
    """Bars: `label` and `value` are columns. Raises Error without a Table."""
    return plot_table("wandb/bar/v0", table, {"label": label, "value": value}, {"title": title}, split_table)


def histogram(table: Table, value: str, title: str = "", split_table: bool = False) -> CustomChart:
    """A histogram of the column `value`; W&B makes its bins. Raises Error without a Table."""
    return plot_table("wandb/histogram/v0", table, {"value": value}, {"title": title}, split_table)
