"""The health rules at work: samples, driver events, ends of processes and losses go in; what is amiss is told.

    Machine (readings, events) ─► MachineRules ──┐
    inbox, samples ─► Stalls ────────────────────┼─► Teller ─► log, status, counters, the runs (summary, alert, files)
    dead processes ─► Graves ────────────────────┤
    run workers (losses) ────────────────────────┘

The rules themselves are in telemetryd/health, pure; here they meet runs, processes and files. Runs on the daemon's main
thread; nothing here waits. An error of the rules themselves is counted and costs what was just looked at, never the
daemon.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Protocol

from telemetryd.errors import InboxError
from telemetryd.health import events as health_events
from telemetryd.health.counters import Counters
from telemetryd.health.events import Events
from telemetryd.health.node_news import NodeNews
from telemetryd.inbox.store import Inbox
from telemetryd.inbox.tails import Tails
from telemetryd.limits import HEALTH_LOOK_S
from telemetryd.runs import control
from telemetryd.sampling.messages import HOST, Event, Reading
from telemetryd.settings.rules import BY_NAME, limits_of
from telemetryd.supervision import slowness
from telemetryd.supervision.graves import Graves
from telemetryd.supervision.machine_rules import MachineRules
from telemetryd.supervision.sampling import Sampling
from telemetryd.supervision.stalls import Stalls
from telemetryd.supervision.teller import Concerned, Teller
from telemetryd.supervision.watched import Watched

log = logging.getLogger(__name__)


class HealthSettings(Protocol):
    """What the rules must be told; telemetryd.settings.DaemonSettings has it."""

    @property
    def sampling(self) -> str: ...  # noqa: D102
    @property
    def health(self) -> str: ...  # noqa: D102
    @property
    def health_alerts(self) -> str: ...  # noqa: D102
    @property
    def health_alert_wait_s(self) -> float: ...  # noqa: D102
    @property
    def post_mortem(self) -> str: ...  # noqa: D102


class Watchdog:
    """See the module's head."""

    def __init__(
        self,
        settings: HealthSettings,
        inbox: Inbox,
        tails: Tails,
        sampling: Sampling,
        step_of: Callable[[int], int | None],
        events: Events,
        counters: Counters,
        woken: Callable[[set[int]], None],
        poke: Callable[[], None],
        deliveries_step: Callable[[int], int | None],
    ) -> None:
        """`woken` is called with runs that have something new in the inbox; `poke` has dead processes looked for.
        `deliveries_step` is as `step_of`, for any thread."""
        self._limits = limits_of(settings.health)
        self._inbox = inbox
        self._sampling = sampling
        self._machine = sampling.machine
        self._teller = Teller(
            inbox, events, counters, step_of, woken,
            alerts=settings.health_alerts == "on", alert_wait_s=settings.health_alert_wait_s,
        )  # fmt: skip
        self._rules = MachineRules(self._limits, sampling, events, self._teller)
        self.node_news = NodeNews(events, counters, self._teller.telling, deliveries_step)
        """For those who take in what nodes tell."""
        self._stalls = Stalls(self._limits.get("no_progress"), inbox.progress, self._teller)
        self._graves = Graves(
            inbox.progress, self._machine, tails, events, counters, self._teller, poke, step_of,
            self._stalls.stacks_of, told="process_gone" in self._limits, saved=settings.post_mortem == "on",
        )  # fmt: skip
        self._events = events
        self._counters = counters
        self._always = settings.sampling == "always"
        self._runs: Mapping[int, Watched] = {}
        self._looked_s = -math.inf
        self._machine.listen(self._reading, self._happened)

    def pids(self) -> list[int]:
        """Processes that are ours to reap."""
        return self._stalls.pids()

    def look(self, now_s: float, *, sessions_changed: bool) -> None:
        """What sessions or time have brought about; before sampling looks. Raises InboxError."""
        with self._guarded():
            if sessions_changed:
                self._renew(now_s)
            self._graves.look(now_s)
            if now_s - self._looked_s >= HEALTH_LOOK_S:
                self._looked_s = now_s
                if self._sampling.watched is not self._runs:  # it has looked after us
                    self._renew(now_s)
                self._stalls.look(now_s)
                self._rules.let_go(time.time())
                if self.node_news.holds:
                    self.node_news.keep({run.run_id for run in self._inbox.progress.active()})

    def may_close(self, run_id: int) -> bool:
        """Whether a run all of whose sessions are over may be closed. Raises InboxError."""
        with self._guarded():
            return self._graves.may_close(run_id, time.monotonic())
        return True

    def slow_because(self, run: str, rank: int) -> str:
        """Why a rank on this machine is likely to be slower than the others; empty where nothing tells."""
        with self._guarded():
            watched = next((one for one in self._sampling.watched.values() if one.key == run), None)
            if watched is not None:
                return slowness.why(watched, rank, self._machine.latest())
        return ""

    def loss_seen(self, run_id: int, key: str, report: control.LossSeen) -> None:
        """A run's worker saw a loss that is not finite, or is again."""
        rule = BY_NAME["loss_not_finite"]
        subject, concerned = f"run {run_id} {report.name}", [Concerned(run_id, key)]
        with self._guarded():
            if math.isfinite(report.value):
                self._teller.cleared(rule, subject, f"{report.name} is finite again", concerned)
            elif not self._rules.is_active(rule.name, subject):
                message = f"{report.name} is {report.value}"
                event = health_events.Event(time.time_ns(), rule.name, message, step=report.step)
                self._teller.raised(rule, subject, event, concerned, lasts=True)

    def close(self) -> None:
        """End what runs."""
        self._stalls.close()
        self._graves.close()

    def _renew(self, now_s: float) -> None:
        watched = self._sampling.watched
        scopes = {
            run_id: frozenset((HOST, f"run:{run_id}", *(f"gpu:{uuid}" for uuid in one.panel.ordinals)))
            for run_id, one in watched.items()
        }
        self._graves.renew(scopes, now_s)
        self._stalls.renew(watched, now_s)
        gone = self._runs.keys() - watched.keys()
        self._runs = watched
        if gone:
            self._part_with(gone)

    def _part_with(self, gone: Set[int]) -> None:
        """These runs are sampled no more: what is amiss with them alone is over, and everything where nobody looks."""
        present = {run.run_id for run in self._inbox.progress.active()}
        self._teller.forget(present)
        self._stalls.forget(present)
        over = self._rules.over_without(gone) | {str(run_id) for run_id in gone}
        nobody = not self._runs and not self._always
        for rule, subject, event in self._events.active():
            if event.node is not None:  # of another machine: node_news knows when it is over
                continue
            of_run = rule == "loss_not_finite" and int(subject.split()[1]) not in present
            if nobody or of_run or subject in over:
                self._rules.forget(subject)
                self._teller.cleared(BY_NAME[rule], subject, "the run is over", [])

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """InboxError is the caller's; anything else is a defect that must not end the daemon."""
        try:
            yield
        except InboxError:
            raise
        except Exception as error:
            log.exception("health_failed")
            self._counters.defect("health_errors", error)

    # The machine's news.

    def _reading(self, reading: Reading) -> None:
        with self._guarded():
            self._stalls.reading(reading, time.monotonic())
            self._rules.reading(reading)

    def _happened(self, event: Event) -> None:
        with self._guarded():
            self._rules.happened(event)
