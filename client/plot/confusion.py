"""The confusion matrix, counted here: the counts are few, and to check the labels costs as much as to count them."""

from __future__ import annotations

import collections
import sys
from typing import Any

from client.plot.chart import CustomChart, plot_table
from client.tables import Table


def confusion_matrix(
    probs: Any = None,
    y_true: Any = None,
    preds: Any = None,
    class_names: Any = None,
    title: str = "Confusion Matrix Curve",
    split_table: bool = False,
) -> CustomChart:
    """How often each class was taken for which: `y_true` are labels, `preds` predicted ones, or `probs` (N, K) their
    probabilities.

    Without `class_names`, classes are the labels that occur, in order. Raises ValueError for both `probs` and `preds`,
    another number of labels than of predictions, or more classes than names; KeyError for a label without a name.
    """
    if probs is not None and preds is not None:
        raise ValueError("Only one of `probs` or `preds` should be provided, not both.")
    if probs is not None:
        preds = _most_probable(probs)
    if len(preds) != len(y_true):
        raise ValueError("The number of predictions and true labels must be equal.")
    if class_names is not None:
        count = len(class_names)
        labels: Any = range(count)
        if len(set(preds)) > count:
            raise ValueError("The number of unique predicted classes exceeds the number of class names.")
        if len(set(y_true)) > count:
            raise ValueError("The number of unique true labels exceeds the number of class names.")
    else:
        labels = set(preds).union(set(y_true))
        count = len(labels)
        class_names = [f"Class_{number + 1}" for number in range(count)]
    index = {label: number for number, label in enumerate(sorted(labels))}
    counts: collections.Counter[tuple[int, int]] = collections.Counter()
    for (true, guess), times in collections.Counter(zip(y_true, preds, strict=True)).items():
        counts[index[true], index[guess]] += times
    columns: list[Any] = ["Actual", "Predicted", "nPredictions"]
    data = [[class_names[i], class_names[j], float(counts[i, j])] for i in range(count) for j in range(count)]
    fields = {column: column for column in columns}
    return plot_table(
        "wandb/confusion_matrix/v1", Table(columns=columns, data=data), fields, {"title": title}, split_table
    )


def _most_probable(probs: Any) -> list[int]:
    """The first of the most probable classes of each row; a NaN counts as most probable, as with numpy."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        guesses = numpy.argmax(probs, axis=1).tolist()
        assert isinstance(guesses, list)
        return guesses
    return [max(range(len(row)), key=lambda i, row=row: (row[i] != row[i], row[i])) for row in probs]  # type: ignore[misc]
