"""ROC and precision-recall curves. The daemon computes them, with scikit-learn as wandb does; here the labels and
probabilities are copied, and what is certain to be refused is refused at once.
"""

from __future__ import annotations

import sys
from typing import Any

from client import tensors
from client.errors import UnsupportedError
from client.media import arrays
from client.plot.chart import CustomChart, CustomChartSpec
from client.tables import Table, cells


class CurveChart(CustomChart):
    """A chart whose table the daemon computes."""

    def __init__(self, kind: str, title: str, split_table: bool, args: dict[str, Any]) -> None:
        self.spec = CustomChartSpec("wandb/area-under-curve/v0", {}, {"title": title}, split_table=split_table)
        self._kind = kind
        self._args = args

    @property
    def table(self) -> Table:  # type: ignore[override]
        """Raises UnsupportedError: it is not known here."""
        raise UnsupportedError(f"the table of a {self._kind} is computed by the daemon: compute it with scikit-learn")

    def _wire(self) -> tuple[str, dict[str, Any]]:
        return self._kind, {**self._args, "split_table": self.spec.split_table}


def pr_curve(
    y_true: Any = None,
    y_probas: Any = None,
    labels: list[str] | None = None,
    classes_to_plot: list[Any] | None = None,
    interp_size: int = 21,
    title: str = "Precision-Recall Curve",
    split_table: bool = False,
) -> CustomChart | None:
    """Precision over recall: `y_true` (N,) are labels, `y_probas` (N, K) the probabilities of each class in order.

    `labels` names the classes, `classes_to_plot` chooses among them, `interp_size` is the number of points of a curve.
    Raises ValueError and IndexError for shapes that do not fit. The daemon needs pandas and scikit-learn.
    """
    args = _arguments(y_true, y_probas, labels, classes_to_plot, title)
    return CurveChart("pr_curve", title, split_table, {**args, "interp_size": interp_size})


def roc_curve(
    y_true: Any,
    y_probas: Any = None,
    labels: list[str] | None = None,
    classes_to_plot: list[Any] | None = None,
    title: str = "ROC Curve",
    split_table: bool = False,
) -> CustomChart | None:
    """The true positive rate over the false positive rate; arguments, errors and needs are those of `pr_curve`."""
    return CurveChart("roc_curve", title, split_table, _arguments(y_true, y_probas, labels, classes_to_plot, title))


def _arguments(
    y_true: Any, y_probas: Any, labels: list[str] | None, classes_to_plot: list[Any] | None, title: str
) -> dict[str, Any]:
    true, probas = _numbers(y_true), _numbers(y_probas)
    rows, columns = _shape(probas)
    if _length(true) != rows:
        lengths = f"[{_length(true)}, {rows}]"
        raise ValueError(f"Found input variables with inconsistent numbers of samples: {lengths}")
    classes = _count_classes(true)
    if classes_to_plot is None and classes > columns:
        raise IndexError(
            f"index {columns} is out of bounds for axis 1 with size {columns}: y_true has {classes} classes"
        )
    return {
        "y_true": _captured(true),
        "y_probas": _captured(probas),
        "labels": None if labels is None else list(labels),
        "classes_to_plot": None if classes_to_plot is None else cells.captured(list(classes_to_plot)),
        "title": title,
    }


def _numbers(value: Any) -> Any:
    """An array where numpy is there, as wandb makes one; otherwise a list."""
    numpy = sys.modules.get("numpy")
    if tensors.is_torch(value):
        value = value.detach().cpu()
        return value.numpy() if numpy is not None else value.tolist()
    return numpy.asarray(value) if numpy is not None else value


def _shape(probas: Any) -> tuple[int, int]:
    shape: tuple[int, ...] | None = getattr(probas, "shape", None)
    if shape is None:
        shape = (len(probas), len(probas[0])) if probas and hasattr(probas[0], "__len__") else (0,)
    if len(shape) != 2:
        raise IndexError(f"too many indices for array: y_probas is {len(shape)}-dimensional, but has a column a class")
    return int(shape[0]), int(shape[1])


def _length(true: Any) -> int:
    if getattr(true, "ndim", 1) == 0:
        raise ValueError("y_true is one value: give a label for each row of y_probas")
    return len(true)


def _count_classes(true: Any) -> int:
    numpy = sys.modules.get("numpy")
    return int(numpy.unique(true).size) if numpy is not None else len(set(true))


def _captured(value: Any) -> Any:
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind and kind in "biuf":
        return arrays.capture(value)
    return cells.captured(value.tolist() if hasattr(value, "tolist") else value)
