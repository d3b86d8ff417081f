"""The rules on samples of the machine and on events of its drivers, at work for the runs that are sampled.

    Machine (readings, events) ─► Judge, Bursts ─► which runs are concerned ─► whoever tells them

On the run's daemon that is the Teller, on a further node its sessions to that daemon. Runs on one thread; nothing here
waits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Protocol

from telemetryd.health import events as health_events
from telemetryd.health.events import Events
from telemetryd.health.judge import Finding, Judge
from telemetryd.health.level import Burst
from telemetryd.limits import EVENT_QUIET_S
from telemetryd.sampling.messages import HOST, Event, Reading
from telemetryd.settings.rules import BY_NAME, Limit, Rule
from telemetryd.supervision import mounts
from telemetryd.supervision.sampling import Sampling, concerns
from telemetryd.supervision.teller import Concerned

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


class Tells(Protocol):
    """Who tells of what was found."""

    def raised(
        self,
        rule: Rule,
        subject: str,
        event: health_events.Event,
        concerned: Sequence[Concerned],
        *,
        lasts: bool,
        known: bool = False,
    ) -> None:
        """An episode begins. `known`: the event itself is in the log and among the events already."""

    def cleared(self, rule: Rule, subject: str, message: str, concerned: Sequence[Concerned]) -> None:
        """An episode is over."""


class MachineRules:
    """See the module's head."""

    def __init__(self, limits: Mapping[str, Limit], sampling: Sampling, events: Events, teller: Tells) -> None:
        self._limits = limits
        self._sampling = sampling
        self._events = events
        self._teller = teller
        self._judge = Judge(limits, self._place)
        self._places: dict[tuple[str, str], str] = {}
        self._scopes: dict[str, set[str]] = {}
        """Which scopes have told of a file system."""
        self._bursts: dict[tuple[str, str], Burst] = {}

    def over_without(self, gone: Set[int]) -> set[str]:
        """These runs are sampled no more: the subjects that nothing is known of any more."""
        self._places.clear()
        over = {f"run {run_id}" for run_id in gone}
        for subject, scopes in list(self._scopes.items()):
            scopes -= {f"run:{run_id}" for run_id in gone}
            if not scopes:
                del self._scopes[subject]
                over.add(subject)
        return over

    def forget(self, subject: str) -> None:
        """A subject is over without a word of its samples."""
        self._judge.forget(subject)

    def is_active(self, rule: str, subject: str) -> bool:
        """Whether an episode has begun and is not over."""
        return any((rule, subject) == (one, other) for one, other, _ in self._events.active())

    def reading(self, reading: Reading) -> None:
        """Samples came."""
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

    def happened(self, event: Event) -> None:
        """An event of the driver, which sampling has told of already: the rule's counts, alerts and summaries."""
        if event.kind in GOOD_NEWS:
            for rule, subject, told in self._events.active():
                if rule == "gpu_lost" and told.node is None and event.uuid in (None, subject):
                    self._teller.cleared(BY_NAME[rule], subject, event.message, self._of_gpu(event))
            return
        rule_name = RULE_OF_EVENT.get(event.kind)
        if rule_name is None or rule_name not in self._limits:
            return
        name = (event.uuid or "driver") + (f" XID {event.code}" if event.code is not None else "")
        lost = rule_name == "gpu_lost"
        if lost and self.is_active(rule_name, name):
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
            if concerns(event, one, self._sampling.machine)
        ]

    def let_go(self, now_s: float) -> None:
        """Bursts are over by now, in seconds of the readings' clock."""
        over = self._judge.look(now_s) + [key for key, burst in self._bursts.items() if burst.is_over(now_s)]
        for rule, subject in over:
            self._teller.cleared(BY_NAME[rule], subject, "nothing more of it", [])

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
