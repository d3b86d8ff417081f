"""Several lines in one chart, from sequences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from client.plot.chart import CustomChart, plot_table
from client.tables import Table


def line_series(
    xs: Any, ys: Any, keys: Any = None, title: str = "", xname: str = "x", split_table: bool = False
) -> CustomChart:
    """Lines: `ys` are their values, `xs` one sequence for all of them or one for each, `keys` their names.

    Raises ValueError where the numbers of sequences differ, TypeError where values do not go together.
    """
    if not isinstance(xs[0], Iterable) or isinstance(xs[0], (str, bytes)):
        xs = [xs] * len(ys)
    if len(xs) != len(ys):
        raise ValueError(f"Number of x-series ({len(xs)}) must match y-series ({len(ys)}).")
    if keys is None:
        keys = [f"line_{number}" for number in range(len(ys))]
    if len(keys) != len(ys):
        raise ValueError(f"Number of keys ({len(keys)}) must match y-series ({len(ys)}).")
    data = [
        [x, keys[number], y]
        for number, (line_xs, line_ys) in enumerate(zip(xs, ys, strict=False))
        for x, y in zip(line_xs, line_ys, strict=False)
    ]
    columns: list[Any] = ["step", "lineKey", "lineVal"]
    return plot_table(
        "wandb/lineseries/v0",
        Table(data=data, columns=columns),
        {column: column for column in columns},
        {"title": title, "xname": xname},
        split_table,
    )
