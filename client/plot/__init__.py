"""`wandb.plot`: charts of tables, `run.log({"chart": client.plot.line(table, x="step", y="loss")})`.

Arguments and errors are wandb's. A chart is a table and the name of a Vega specification; what has to be computed first
is computed here where that is counting (confusion_matrix), and by the daemon where it needs scikit-learn (curves).
"""

from __future__ import annotations

from client.plot.chart import CustomChart, CustomChartSpec, Visualize, VisualizeSpec, plot_table, visualize
from client.plot.confusion import confusion_matrix
from client.plot.curves import pr_curve, roc_curve
from client.plot.of_tables import bar, histogram, line, scatter
from client.plot.series import line_series

__all__ = [
    "CustomChart",
    "CustomChartSpec",
    "Visualize",
    "VisualizeSpec",
    "bar",
    "confusion_matrix",
    "histogram",
    "line",
    "line_series",
    "plot_table",
    "pr_curve",
    "roc_curve",
    "scatter",
    "visualize",
]
