"""Takes the snapshots that answers are made from. Its own inbox connection, which it only reads.

One snapshot at a time, and none newer than FRESH_S is taken again: however many ask, the daemon's other threads see
one reader. What cannot be read is missing in the answer, and told.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from telemetryd.errors import InboxError
from telemetryd.health.counters import Counters
from telemetryd.health.events import Events
from telemetryd.health.pulse import Pulse
from telemetryd.health.status import Health
from telemetryd.inbox.home import Home
from telemetryd.inbox.store import Inbox
from telemetryd.limits import ANSWER_RUNS_MAX
from telemetryd.reception.questions import Questions
from telemetryd.sampling import view
from telemetryd.sampling.machine import Machine
from telemetryd.sampling.processes import read_stat
from telemetryd.web.limits import FRESH_S
from telemetryd.web.snapshot import OwnProcess, Queues, Snapshot, Use

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sources:
    """Where everything is read. `questions` are made for a connection; `processes` lists telemetryd's own."""

    home: Home
    questions: Callable[[Inbox], Questions]
    identity: Mapping[str, Any]
    health: Health
    counters: Counters
    events: Events
    pulse: Pulse
    machine: Machine
    periods_s: Mapping[str, float]
    node: str
    processes: Callable[[], list[OwnProcess]]
    spool_dir: Path
    inbox_max_bytes: int


class Exporter:
    """Thread-safe."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._lock = threading.Lock()
        self._inbox: Inbox | None = None
        self._kept: tuple[float, Snapshot] | None = None

    def snapshot(self) -> Snapshot:
        """The present state, at most FRESH_S old."""
        with self._lock:
            now_s = time.monotonic()
            if self._kept is None or now_s - self._kept[0] >= FRESH_S:
                self._kept = now_s, self._take()
            return self._kept[1]

    def status(self) -> dict[str, Any]:
        """What `telemetryd status --json` prints. Raises InboxError."""
        with self._lock, self._reading() as inbox:
            return self.sources.questions(inbox).status()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._let_go()

    @contextlib.contextmanager
    def _reading(self) -> Any:
        """The connection; it is opened anew after an error."""
        if self._inbox is None:
            self._inbox = Inbox(self.sources.home.path, self.sources.home)
        try:
            yield self._inbox
        except InboxError:
            self._let_go()
            raise

    def _let_go(self) -> None:
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            inbox.close()

    def _take(self) -> Snapshot:
        sources = self.sources
        status: dict[str, Any] | None = None
        queues: Queues | None = None
        runs: dict[int, str] = {}
        try:
            with self._reading() as inbox:
                status = sources.questions(inbox).status(processes=False, followed=ANSWER_RUNS_MAX)
                runs = dict(inbox.database.rows("SELECT run_id, key FROM runs"))
                queues = self._queues(inbox, runs)
        except InboxError as error:
            log.warning("metrics_without_inbox error=%r", str(error))
        devices = sources.machine.devices()
        return Snapshot(
            dict(sources.identity),
            status,
            queues,
            sources.counters.as_map(),
            sources.health.as_map(),
            sources.events.counts(),
            sources.events.raised(),
            Counter(rule for rule, _, _ in sources.events.active()),
            sources.pulse.ages_s(),
            [use for process in sources.processes() if (use := _use(process)) is not None],
            sources.node,
            list(devices.devices),
            devices.driver,
            view.fresh(sources.machine, sources.periods_s, time.time_ns()),
            runs,
        )

    def _queues(self, inbox: Inbox, runs: Mapping[int, str]) -> Queues:
        counted = inbox.database.rows("SELECT run_id, COUNT(*) FROM batches WHERE run_id IS NOT NULL GROUP BY run_id")
        size, journals = spool_use(self.sources.spool_dir)
        return Queues(
            inbox.database.used_bytes(),
            self.sources.inbox_max_bytes,
            {runs[run_id]: count for run_id, count in counted if run_id in runs},
            size,
            journals,
        )


def spool_use(spool_dir: Path) -> tuple[int, int]:
    """(bytes, journals) of a spool; what vanishes meanwhile does not count."""
    size = journals = 0
    with contextlib.suppress(OSError):
        for folder in spool_dir.iterdir():
            with contextlib.suppress(OSError):
                found = [entry.stat().st_blocks * 512 for entry in folder.iterdir()]
                journals += 1
                size += sum(found)
    return size, journals


def _use(process: OwnProcess) -> Use | None:
    stat = read_stat(process.pid)
    return None if stat is None else Use(process, stat.cpu_s, stat.rss_bytes, stat.threads)
