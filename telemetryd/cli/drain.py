"""Waits after the command until everything it logged is delivered, and shows how far that is.

Settled is: the daemon says so, and no journal of this launch lies in the spool any more (a process that was killed
before the daemon heard of it is known by its journal alone).
"""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from client.journal import folder as spool_folder
from telemetryd.cli import asking
from telemetryd.cli.asking import NoAnswerError
from telemetryd.cli.limits import ASK_TIMEOUT_S, BAR_CHARS, DRAIN_POLL_S, DRAIN_QUIET_S, NO_ANSWER_PATIENCE_S
from telemetryd.cli.say import is_terminal, say
from telemetryd.cli.sidecar import Interrupted, Pause, Sidecar
from telemetryd.settings.values import format_duration


@dataclass
class Outcome:
    """How the wait ended. `runs` are Report maps. `why` is "settled", "late", "interrupted" or "unanswered"."""

    why: str = "unanswered"
    runs: list[dict[str, Any]] = field(default_factory=list)
    spooled: int = 0
    waited_s: float = 0.0

    @property
    def pending(self) -> int:
        """Rows that are not delivered yet, as far as the daemon knows."""
        return sum(int(run.get("pending", 0)) for run in self.runs)


def spooled_sessions(spool_dir: Path, launch: str) -> int:
    """How many journals of this launch lie in the spool."""
    count = 0
    with contextlib.suppress(OSError):
        for entry in spool_dir.iterdir():
            with contextlib.suppress(OSError, ValueError):
                count += spool_folder.read_hello(entry).launch == launch
    return count


def drain(sidecar: Sidecar, launch: str, spool_dir: Path, timeout_s: float, pause: Pause) -> Outcome:
    """Wait until the launch is settled, for at most `timeout_s`. One question is asked in any case."""
    start_s = time.monotonic()
    outcome = Outcome()
    answered_s = start_s
    try:
        with _Display(timeout_s) as display:
            while True:
                try:
                    answer = asking.ask(sidecar.settings.endpoint, "launch", ASK_TIMEOUT_S, launch=launch)
                except NoAnswerError:
                    if not sidecar.revive(pause) and time.monotonic() - answered_s >= _patience_s(sidecar):
                        outcome.why = "unanswered"
                        break
                else:
                    answered_s = time.monotonic()
                    outcome.runs = list(answer.get("runs") or [])
                    outcome.spooled = spooled_sessions(spool_dir, launch)
                    if answer.get("settled") and not outcome.spooled:
                        outcome.why = "settled"
                        break
                if time.monotonic() - start_s >= timeout_s:
                    outcome.why = "late"
                    break
                display.show(outcome)
                if signum := pause(DRAIN_POLL_S):
                    raise Interrupted(signum)
    except Interrupted:
        outcome.why = "interrupted"
    outcome.waited_s = time.monotonic() - start_s
    return outcome


def _patience_s(sidecar: Sidecar) -> float:
    """A daemon that has closed its socket is gone; one that is only silent may be busy."""
    return NO_ANSWER_PATIENCE_S if asking.listening(sidecar.settings.endpoint) else 0.0


class _Display:
    """A progress bar on a terminal's stderr, one line anywhere else; neither when the drain is over at once."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = math.ceil(timeout_s) if timeout_s >= 10 else timeout_s
        self._start_s = time.monotonic()
        self._bar: _Bar | None = None
        self._said = False

    def __enter__(self) -> _Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, outcome: Outcome) -> None:
        """Show how far delivery is; call it again and again."""
        if time.monotonic() - self._start_s < DRAIN_QUIET_S:
            return
        if not self._said:
            self._said = True
            say(
                f"the command has ended; delivering {_rows(outcome.pending)}, for up to"
                f" {format_duration(self._timeout_s)} (an interrupt leaves the rest to the daemon) …"
            )
        if is_terminal() and find_spec("rich"):
            self._bar = self._bar or _Bar()
            self._bar.update(outcome)


class _Bar:
    """The progress bar, with what holds delivery up beside it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            BarColumn(bar_width=BAR_CHARS),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            transient=True,
            auto_refresh=False,  # no thread of its own
        )
        self._task = self._progress.add_task("", total=None, counts="")
        self._progress.start()

    def update(self, outcome: Outcome) -> None:
        """Draw the newest counts."""
        offered = sum(int(run.get("offered", 0)) for run in outcome.runs)
        done = offered - outcome.pending
        counts = f"{done:,}/{offered:,} rows"
        trouble = next((str(run["trouble"]) for run in outcome.runs if run.get("trouble")), "")
        room = self._console.width - BAR_CHARS - len(counts) - len(" 0:00:00  ")
        what = f"[yellow]{_escape(trouble[: max(room, 0)])}[/]" if trouble else ("" if outcome.pending else "finishing")
        self._progress.update(self._task, total=offered or None, completed=done, counts=counts, description=what)
        self._progress.refresh()

    def stop(self) -> None:
        """Take the bar away."""
        self._progress.stop()


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _rows(count: int) -> str:
    if not count:
        return "what it logged"
    return f"{count:,} row" if count == 1 else f"{count:,} rows"
