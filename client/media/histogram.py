"""`Histogram`: how often values fall into which bin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from client import tensors
from client.media import arrays
from client.media.base import WBValue


class Histogram(WBValue):
    """A histogram, of a `sequence` of numbers or as `np_histogram` = (counts, edges).

    A sequence is copied, and counted by the daemon: values without a finite range are found there, and lose the value.

    Raises ValueError for more than 512 bins and for edges that do not fit the counts.
    """

    MAX_LENGTH: int = 512
    _log_type = "histogram"

    def __init__(
        self,
        sequence: Sequence[Any] | Any | None = None,
        np_histogram: tuple[Any, Any] | None = None,
        num_bins: int = 64,
    ) -> None:
        self._args: dict[str, Any] = {}
        if np_histogram:
            if len(np_histogram) != 2:
                raise ValueError(
                    "Expected np_histogram to be a tuple of (values, bin_edges) or sequence to be specified"
                )
            counts, edges = (_listed(part) for part in np_histogram)
            self._check(len(counts), len(edges))
            self._args["np_histogram"] = [counts, edges]
            return
        if isinstance(num_bins, int):
            self._check(num_bins, num_bins + 1)
        if sequence is None:
            raise TypeError("Histogram needs a sequence of numbers, or np_histogram=(counts, edges)")
        self._args["sequence"] = arrays.capture(sequence) if tensors.is_array(sequence) else _numbers(sequence)
        self._args["num_bins"] = num_bins if isinstance(num_bins, (int, str)) else _listed(num_bins)

    def _check(self, counts: int, edges: int) -> None:
        if counts > self.MAX_LENGTH:
            raise ValueError(f"The maximum length of a histogram is {self.MAX_LENGTH}")
        if counts + 1 != edges:
            raise ValueError("len(bins) must be len(histogram) + 1")

    def _wire(self) -> tuple[str, dict[str, Any]]:
        return "Histogram", self._args


def _listed(values: Any) -> list[Any]:
    return list(values.tolist() if hasattr(values, "tolist") else values)


def _numbers(values: Any) -> list[Any]:
    """A copy of a Python sequence; numbers of any library in it are taken when it is encoded."""
    return [_numbers(value) if isinstance(value, (list, tuple)) else value for value in values]
