"""The door to wandb for what makes media: imported when the first value is made, after the environment is clean."""

from __future__ import annotations

from typing import Any


def data_types() -> Any:
    """wandb.data_types, which has every media class."""
    import wandb.data_types

    return wandb.data_types


def is_wandb_error(error: BaseException) -> bool:
    """Whether it is wandb's own, which it raises for a package that is not installed, among others."""
    import wandb

    return isinstance(error, wandb.Error)


def is_wandb_table(value: Any) -> bool:
    """Whether it is wandb's own table, already made."""
    return type(value).__module__.startswith("wandb.") and type(value).__name__ == "Table"


def plot() -> Any:
    """wandb.plot, which has every chart."""
    import wandb.plot

    return wandb.plot


def chart_specs() -> Any:
    """(CustomChartSpec, VisualizeSpec)."""
    from wandb.plot.custom_chart import CustomChartSpec
    from wandb.plot.viz import VisualizeSpec

    return CustomChartSpec, VisualizeSpec
