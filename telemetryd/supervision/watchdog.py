"""The health rules at work: samples, driver events, ends of processes and losses go in; what is amiss is told.

    Machine (readings, events) ─► Judge, Bursts ─┐
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
from pathlib import Path
from typing import Protocol

from telemetryd.errors import InboxError
from telemetryd.health import events as health_events
from telemetryd.health.counters import Counters
from telemetryd.health.events import Events
from telemetryd.health.judge import Finding, Judge
from telemetryd.health.level import Burst
from telemetryd.inbox.store import Inbox
from telemetryd.inbox.tails import Tails
from telemetryd.limits import EVENT_QUIET_S, HEALTH_LOOK_S
from telemetryd.runs import control
from telemetryd.sampling.messages import HOST, Event, Reading
from telemetryd.settings.rules import BY_NAME, limits_of
from telemetryd.supervision import mounts, slowness
from telemetryd.supervision.graves import Graves
from telemetryd.supervision.sampling import Sampling, concerns
from telemetryd.supervision.stalls import Stalls
from telemetryd.supervision.teller import Concerned, Teller
from telemetryd.supervision.watched import Watched

log = logging.getLogger(__name__)

RULE_OF_EVENT = {
    "xid": "xid",
    "ecc_double_bit": "ecc",
    "ecc_single_bit_storm": "ecc",
    "poison": "ecc",
    "retirement": "ecc",
    "retirement_failure": "ecc",
    "gpu_lost": "gpu_lost",
    "gpu_hung": "gpu_lost",
    "driver_lost": "gpu_lost",
}
"""Which rule an event of the sampler stands for."""
GOOD_NEWS = frozenset({"gpu_back", "gpu_answers", "driver_back"})
"""Events that end an episode of `gpu_lost`."""


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
    ) -> None:
        """`woken` is called with runs that have something new in the inbox; `poke` has dead processes looked for."""
        self._limits = limits_of(settings.health)
        self._inbox = inbox
        self._sampling = sampling
        self._machine = sampling.machine
        self._judge = Judge(self._limits, self._place)
        self._teller = Teller(
            inbox, events, counters, step_of, woken,
            alerts=settings.health_alerts == "on", alert_wait_s=settings.health_alert_wait_s,
        )  # fmt: skip
        self._stalls = Stalls(self._limits.get("no_progress"), inbox.progress, self._teller)
        self._graves = Graves(
            inbox.progress, self._machine, tails, events, counters, self._teller, poke, step_of,
            self._stalls.stacks_of, told="process_gone" in self._limits, saved=settings.post_mortem == "on",
        )  # fmt: skip
        self._events = events
        self._counters = counters
        self._always = settings.sampling == "always"
        self._places: dict[tuple[str, str], str] = {}
        self._scopes: dict[str, set[str]] = {}
        """Which scopes have told of a file system."""
        self._bursts: dict[tuple[str, str], Burst] = {}
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
                self._let_go(time.time())

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
            elif not self._is_active(rule.name, subject):
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
        self._places.clear()
        over = {f"run {run_id}" for run_id in gone} | {str(run_id) for run_id in gone}
        for subject, scopes in list(self._scopes.items()):
            scopes -= {f"run:{run_id}" for run_id in gone}
            if not scopes:
                del self._scopes[subject]
                over.add(subject)
        nobody = not self._runs and not self._always
        for rule, subject, _ in self._events.active():
            of_run = rule == "loss_not_finite" and int(subject.split()[1]) not in present
            if nobody or of_run or subject in over:
                self._judge.forget(subject)
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
            for finding in self._judge.feed(reading.scope, reading.values, reading.time_ns):
                self._found(finding)

    def _found(self, finding: Finding) -> None:
        rule = BY_NAME[finding.rule]
        concerned = self._concerned(finding)
        if not finding.begins:
            self._teller.cleared(rule, finding.subject, finding.message, concerned)
            return
        uuid = finding.scope.removeprefix("gpu:") if finding.scope.startswith("gpu:") else None
        event = health_events.Event(finding.time_ns, rule.name, finding.message, uuid=uuid)
        self._teller.raised(rule, finding.subject, event, concerned, lasts=True)

    def _concerned(self, finding: Finding) -> list[Concerned]:
        """The runs that a finding is about."""
        scopes = self._scopes.get(finding.subject, set()) | {finding.scope}
        found = []
        for run_id, watched in self._sampling.watched.items():
            uuid = finding.scope.removeprefix("gpu:") if finding.scope.startswith("gpu:") else None
            if uuid is not None:
                if uuid in watched.panel.ordinals:
                    found.append(Concerned(run_id, watched.key, watched.rank_on(uuid), watched.panel.ordinals[uuid]))
            elif HOST in scopes or f"run:{run_id}" in scopes:
                found.append(Concerned(run_id, watched.key))
        return found

    def _happened(self, event: Event) -> None:
        with self._guarded():
            self._heed(event)

    def _heed(self, event: Event) -> None:
        """An event of the driver, which sampling has told of already: the rule's counts, alerts and summaries."""
        if event.kind in GOOD_NEWS:
            for rule, subject, _ in self._events.active():
                if rule == "gpu_lost" and (event.uuid is None or subject == event.uuid):
                    self._teller.cleared(BY_NAME[rule], subject, event.message, self._of_gpu(event))
            return
        rule_name = RULE_OF_EVENT.get(event.kind)
        if rule_name is None or rule_name not in self._limits:
            return
        name = (event.uuid or "driver") + (f" XID {event.code}" if event.code is not None else "")
        lost = rule_name == "gpu_lost"
        if lost and self._is_active(rule_name, name):
            return
        if not lost and not self._bursts.setdefault((rule_name, name), Burst(EVENT_QUIET_S)).hit(time.time()):
            return
        what = f"XID {event.code}: {event.message}" if event.code is not None else event.message
        told = health_events.Event(event.time_ns, event.kind, what, event.advice, event.fatal, event.code, event.uuid)
        self._teller.raised(BY_NAME[rule_name], name, told, self._of_gpu(event), lasts=True, known=True)

    def _of_gpu(self, event: Event) -> list[Concerned]:
        uuid = event.uuid
        return [
            Concerned(run_id, one.key, one.rank_on(uuid) if uuid else None, one.panel.ordinals.get(uuid or ""))
            for run_id, one in self._sampling.watched.items()
            if concerns(event, one, self._machine)
        ]

    def _let_go(self, now_s: float) -> None:
        """Bursts that are over."""
        over = self._judge.look(now_s) + [key for key, burst in self._bursts.items() if burst.is_over(now_s)]
        for rule, subject in over:
            self._teller.cleared(BY_NAME[rule], subject, "nothing more of it", [])

    def _is_active(self, rule: str, subject: str) -> bool:
        return any((rule, subject) == (one, other) for one, other, _ in self._events.active())

    def _place(self, scope: str, path: str) -> str:
        """The file system that a path lies on, as the process of that scope sees it."""
        found = self._places.get((scope, path))
        if found is None:
            pid = "self"
            if scope.startswith("run:"):
                watched = self._sampling.watched.get(int(scope.removeprefix("run:")))
                if watched is not None and watched.target.processes:
                    pid = str(watched.target.processes[0].pid)
            found = self._places[scope, path] = mounts.file_system(Path("/proc") / pid / "mountinfo", path) or path
        self._scopes.setdefault(found, set()).add(scope)
        return found
