"""What a run is written to. `wandb_sink.WandbSink` is the real one; tests of the delivery use a recording one.

Invariants of every sink
* What is written becomes readable in the order of writing, and what is readable stays: confirmation covers a prefix.
* A row is written once; its step is above every step written before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from client.protocol.records import Alert, Attributes, Config, Metric, Output, Pins, Process, Saved, Summary
from telemetryd.runs.control import Started, Trouble
from telemetryd.runs.rows import FinishedRow
from telemetryd.runs.uploads import Door


@dataclass(frozen=True)
class Position:
    """How much was written at some moment: rows, and an opaque count of everything else."""

    rows: int = 0
    others: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Existing:
    """What the run has already, from before: steps of its rows after `next_step` in order, output records, alerts.

    `below` is set where only a first missing step is known (online), or not all steps are (a long run): every row below
    it is there.
    """

    steps: tuple[int, ...] = ()
    outputs: int = 0
    below: int | None = None
    alerts: int = 0
    samples: Collection[tuple[int, str]] = ()
    """sample_key of the newest labelled or other samples that its files have."""


LABEL = "/l:"
"""Before a node's label in the System panel's keys, as wandb writes it."""


def sample_key(time_ns: int, values: Iterable[str]) -> tuple[int, str]:
    """What tells a sample from others: its time and its node's label."""
    return time_ns, next(iter(values), "").partition(LABEL)[2]


class Sink(Protocol):
    """A run that takes rows and everything else. All methods raise SinkError when wandb fails."""

    def preflight(self) -> Trouble | None:
        """Why the run cannot be opened now, None when it can. Ask again later; raises SinkError when that is vain."""

    def open(self) -> Started:
        """Start or resume the run."""

    def existing(self, next_step: int) -> Existing:
        """What earlier workers wrote at steps from `next_step` on. Call once, after `open`."""

    def row(self, row: FinishedRow) -> None:
        """Write a row. Raises RowRefusedError, and writes nothing, when its values cannot be stored."""

    def config(self, record: Config) -> None:
        """Set and remove keys of the run's config."""

    def summary(self, record: Summary) -> None:
        """Set and remove values of the run's summary."""

    def metric(self, record: Metric) -> None:
        """Define a metric."""

    def output(self, record: Output) -> None:
        """Append to the run's console output."""

    def attributes(self, record: Attributes) -> None:
        """Change name, notes or tags."""

    def alert(self, record: Alert) -> None:
        """Send an alert."""

    def preempting(self) -> None:
        """Say that the run is about to be preempted."""

    def pins(self, record: Pins) -> None:
        """Pin keys of the config."""

    def artifacts(self) -> Door:
        """Where artifacts go; used on a thread of its own."""

    def recorded_artifacts(self) -> set[str]:
        """Artifacts that earlier offline files have, by the client's name for them."""

    def artifacts_readable(self) -> bool:
        """Whether every artifact that was recorded in a file can be read back. For any thread."""

    def samples(self, time_ns: int, values: Mapping[str, float]) -> bool:
        """Show values of the machine in the run's System panel; False when that is not possible now. Raises nothing
        for want of it: samples are no rows."""

    def saved(self, record: Saved) -> None:
        """Put a file into the run's folder and have it uploaded."""

    def process(self, record: Process) -> None:
        """Add what was looked up of the training process, unless the run has it already."""

    def flush(self) -> None:
        """Hand over what is buffered on this side."""

    def written(self) -> Position:
        """How much was written through this sink so far, buffered or not."""

    def media_lost(self) -> dict[str, int]:
        """Media values that rows written here had to go without, by reason."""

    def look(self) -> None:
        """Find out what has been confirmed since the last look."""

    def confirmed_rows(self) -> int:
        """Rows of this sink that were confirmed at the last look."""

    def unread_rows(self) -> int:
        """Rows of this sink that could not be read back at the last look."""

    def is_confirmed(self, position: Position) -> bool:
        """Whether everything up to `position` was confirmed at the last look."""

    def check(self) -> Trouble | None:
        """The trouble that there is and that may pass. Raises SinkError when another worker has to go on."""

    def hurry(self) -> None:
        """From now on somebody waits for the confirmation."""

    def while_finishing(self) -> Trouble | None:
        """The trouble that `finish` is in. Called from another thread while it runs; never raises."""

    def finish(self, exit_code: int) -> None:
        """End the run with this exit code; everything written is confirmed afterwards or SinkError is raised."""

    def abandon(self) -> None:
        """Leave the run as it is, unfinished, at once. What is not confirmed may be lost. Never raises."""
