"""The fault matrix: what is broken (part), how (fault), and what was measured while it was.

A cell's `play` gets a world in which nothing runs yet; it starts what it needs, breaks it, mends it, and returns while
or after training logs. What follows is the same for all: training ends, everything settles, W&B's rows are compared
with the rows logged.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.standin.fixture import running
from tests.support.world import World

LONGEST_CALL_MS = 50.0
P999_MS = 1.0
ROWS = 3000
ROWS_PER_S = 600.0
DELIVERING_ROWS_PER_S = 250.0
TRAINER_END_S = 60.0


@dataclass(frozen=True)
class Cell:
    """One fault of one part. `waits`: most of its time nothing happens, so many such cells may run at once."""

    part: str
    fault: str
    play: Callable[[World], None] = field(compare=False)
    online: bool = False
    waits: bool = False
    trainer_dies: bool = False
    settle_s: float = 150.0

    @property
    def id(self) -> str:
        """As in a test's name."""
        return f"{self.part}-{self.fault}".replace(" ", "_").replace("W&B", "wandb")


@dataclass
class Result:
    """What came of a cell. `skipped` says why there is nothing to tell; `failure` what went wrong on the way."""

    part: str
    fault: str
    logged: int = 0
    in_wandb: int = 0
    missing: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    exceptions: int = 0
    longest_ms: float = 0.0
    p999_ms: float = 0.0
    took_s: float = 0.0
    skipped: str = ""
    failure: str = ""

    def lost_or_doubled(self) -> list[str]:
        """What must never be, whatever the machine does."""
        said = [self.failure] if self.failure else []
        if self.exceptions:
            said.append(f"{self.exceptions} exceptions reached training")
        if self.missing:
            said.append(f"{len(self.missing)} of {self.logged} rows are missing: {_some(self.missing)}")
        if self.doubled:
            said.append(f"{len(self.doubled)} rows are there more than once: {_some(self.doubled)}")
        if self.dropped:
            said.append(f"dropped: {self.dropped}")
        return said

    def too_slow(self) -> list[str]:
        """What must not be, and may come from other work on the machine as well."""
        said = []
        if self.longest_ms >= LONGEST_CALL_MS:
            said.append(f"the longest log() took {self.longest_ms:.1f} ms")
        if self.p999_ms >= P999_MS:
            said.append(f"p99.9 of log() is {self.p999_ms:.2f} ms")
        return said

    def as_json(self) -> dict[str, Any]:
        """For the report; numbers of rows instead of the rows."""
        return asdict(self) | {"missing": len(self.missing), "doubled": len(self.doubled)}


CELLS: list[Cell] = []
NOT_PLAYED: dict[tuple[str, str], str] = {}
"""Cells of the matrix that are not played anywhere, and why."""


def cell(part: str, fault: str, **options: Any) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    """Makes the decorated function a cell of the matrix."""

    def add(play: Callable[[World], None]) -> Callable[[World], None]:
        CELLS.append(Cell(part, fault, play, **options))
        return play

    return add


def all_cells() -> list[Cell]:
    """Every cell, in the order of the table."""
    from tests.chaos import disk_cells, process_cells, training_cells, wandb_cells  # noqa: F401 - they register

    order = ["trainer", "daemon", "worker", "core", "spool", "inbox", "run directory", "W&B", "training"]
    return sorted(CELLS, key=lambda one: order.index(one.part))


def begin_delivering(world: World, *flags: str, rows: int = ROWS) -> None:
    """As `begin`, and the first rows are in W&B: twelve seconds of training, for what is broken behind the daemon."""
    begin(world, *flags, rows=rows, rows_per_s=DELIVERING_ROWS_PER_S, until=1)
    world.wait_delivering()


def begin(world: World, *flags: str, rows: int = ROWS, rows_per_s: float = ROWS_PER_S, until: int = 0) -> None:
    """A daemon, and a training process that has logged a quarter of its rows (or `until`)."""
    world.rows = rows
    if not world.daemon_running():
        world.start_daemon()
    world.start_trainer(rows_per_s, *flags)
    world.wait_logged(until or rows // 4)


@contextlib.contextmanager
def world_of(one: Cell, folder: Path) -> Iterator[World]:
    """A cell's world, with a W&B stand-in where the cell is online; all of it ends with the block."""
    with contextlib.ExitStack() as stack:
        standin = stack.enter_context(running()) if one.online else None
        world = World(folder, standin)
        stack.callback(world.close)
        yield world


def measure(one: Cell, folder: Path) -> Result:
    """Play a cell. Raises pytest's Skipped where the machine lacks something."""
    begun_s = time.monotonic()
    result = Result(one.part, one.fault)
    with world_of(one, folder) as world:
        try:
            one.play(world)
            assert world.trainer is not None
            world.trainer.wait(TRAINER_END_S)
            status = world.wait_settled(one.settle_s)
            result.dropped = {reason: count for reason, count in status["dropped"].items() if count}
        except AssertionError as error:
            result.failure = str(error)
        outcome = world.outcome()
    account = outcome.account
    result.logged, result.in_wandb = account.logged, outcome.rows_in_wandb
    result.missing, result.doubled = outcome.missing, outcome.doubled
    result.exceptions, result.longest_ms, result.p999_ms = account.errors, account.longest_ms, account.p999_ms
    result.took_s = time.monotonic() - begun_s
    if not result.failure and not one.trainer_dies and account.logged != world.rows:
        result.failure = (
            f"training logged {account.logged} of {world.rows} rows\n{world.trainer and world.trainer.told()}"
        )
    return result


def _some(numbers: list[int]) -> str:
    return f"{numbers[:5]} … {numbers[-1]}" if len(numbers) > 6 else str(numbers)
