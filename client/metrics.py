"""`define_metric`: its arguments checked as wandb checks them."""

from __future__ import annotations

from typing import Any

from client.errors import Error
from client.protocol import records
from client.term import termwarn

SUMMARY_OPS = frozenset({"min", "max", "mean", "last", "copy", "none", "first"})


class Metric:
    """One `define_metric` call; may be given as another's `step_metric`."""

    def __init__(
        self,
        name: str,
        step_metric: str | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: tuple[str, ...] | None = None,
        overwrite: bool | None = None,
    ) -> None:
        self.name = name
        self.step_metric = step_metric
        self.step_sync = step_sync if step_sync is not None else step_metric is not None
        self.hidden = hidden
        self.summary = summary
        self._overwrite = overwrite
        self._step_sync_given = step_sync

    def record(self) -> records.Metric:
        """The call as the stream carries it."""
        return records.Metric(
            name=self.name,
            step_metric=self.step_metric,
            step_sync=self._step_sync_given,
            hidden=self.hidden,
            summary=",".join(self.summary) if self.summary else None,
            overwrite=self._overwrite,
        )


def checked(
    name: str,
    step_metric: str | Metric | None = None,
    step_sync: bool | None = None,
    hidden: bool | None = None,
    summary: str | None = None,
    overwrite: bool | None = None,
) -> Metric:
    """The Metric of a `define_metric` call. Raises Error, with what is wrong and what is allowed."""
    if not name:
        raise Error("define_metric() requires non-empty name argument")
    if isinstance(step_metric, Metric):
        step_metric = step_metric.name
    expected: tuple[tuple[str, Any, type], ...] = (
        ("name", name, str),
        ("step_metric", step_metric, str),
        ("step_sync", step_sync, bool),
        ("hidden", hidden, bool),
        ("summary", summary, str),
        ("overwrite", overwrite, bool),
    )
    for argument, value, kind in expected:
        if value is not None and not isinstance(value, kind):
            raise Error(
                f"Unhandled define_metric() arg: {argument} type: {type(value).__name__}; it must be {kind.__name__}"
            )
    if "*" in name.removesuffix("*"):
        raise Error(f"Unhandled define_metric() arg: name (glob suffixes only): {name}; a * may only stand at the end")
    return Metric(name, step_metric, step_sync, hidden, _summary_ops(summary), overwrite)


def _summary_ops(summary: str | None) -> tuple[str, ...] | None:
    if not summary:
        return None
    if "copy" in summary:
        termwarn("define_metric(summary='copy') is deprecated and will be removed.", repeat=False)
    ops = tuple(op.lower() for op in summary.split(","))
    for op in ops:
        if op not in SUMMARY_OPS:
            allowed = ", ".join(sorted(SUMMARY_OPS - {"copy"}))
            raise Error(f"Unhandled define_metric() arg: summary op: {op}; known, joined by commas only: {allowed}")
    return ops
