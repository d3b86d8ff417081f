"""What every media value is to the encoder: a kind of the daemon's allow-list, and its arguments.

A new type subclasses WBValue (Media, BatchableMedia where wandb does), captures in `__init__` whatever the caller could
change afterwards, and returns from `_wire` its kind with the arguments of wandb's class: plain values, arrays
(arrays.capture), bytes (payload.Payload), files (files.capture), other media values, and lists and dicts of them. Its
other half is a builder of the same kind in telemetryd/runs/media.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar


class WBValue:
    """A value that W&B stores as JSON with a `_type`."""

    _log_type: ClassVar[str | None] = None

    def _wire(self) -> tuple[str, dict[str, Any]]:
        """(kind, arguments); arguments that are None are left out."""
        raise NotImplementedError

    def _check_run(self) -> None:
        """Raises what wandb raises for a value that may be part of another, a table, but not be logged to a run."""


class Media(WBValue):
    """A value that W&B stores as a file beside the history."""


class BatchableMedia(Media):
    """Media of which a list makes one panel."""

    @classmethod
    def _warn_of_list(cls, items: Sequence[Any]) -> None:
        """Says, as wandb does, what a list of these will not show."""


class Part(WBValue):
    """A value that stands within the arguments of others, and means nothing alone: an array, a file."""

    __slots__ = ("_args", "_kind")

    def __init__(self, kind: str, **args: Any) -> None:
        self._kind = kind
        self._args = args

    def _wire(self) -> tuple[str, dict[str, Any]]:
        return self._kind, self._args
