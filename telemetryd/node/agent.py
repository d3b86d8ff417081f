"""`telemetryd node`: this machine's sampler; its samples, and what they show of the machine's health, go as sessions to
the runs that train here.

    main thread    the sampling process and the rules on what it reads (supervision/sampling.py and machine_rules.py, as
                   in the daemon), what they find (findings.py), sessions (streams.py)
    asker          what trains here (question.py)
    senders        one for each session, the client's own

Nothing of training depends on it: ended or killed it costs samples, and what its sessions had not sent is in the spool.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import os
import selectors
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from client.protocol import records
from client.protocol.messages import RunSpec
from telemetryd.bell import Bell, ringing
from telemetryd.health.counters import Counters
from telemetryd.health.status import Health
from telemetryd.node.findings import Findings, NodeEvents
from telemetryd.node.limits import CLOSE_TIMEOUT_S, RULES_LOOK_S, TURN_S
from telemetryd.node.question import Asker, Run, Standing
from telemetryd.node.slow_ranks import SlowRanks
from telemetryd.node.streams import Streams
from telemetryd.runs import control
from telemetryd.sampling.messages import Event, Reading
from telemetryd.settings import DaemonSettings
from telemetryd.settings.rules import BY_NAME, limits_of
from telemetryd.supervision import leftovers, state_folder
from telemetryd.supervision.machine_rules import MachineRules
from telemetryd.supervision.sampler_process import SAMPLER_COMMAND
from telemetryd.supervision.sampling import Sampling

log = logging.getLogger(__name__)


def serve(settings: DaemonSettings, command: Sequence[str] = SAMPLER_COMMAND) -> int:
    """Sample until told to stop; the exit code. Must run in the main thread of a process of its own.

    Raises PlaceError, or AlreadyServingError when this machine is sampled for this daemon already.
    """
    logging.basicConfig(
        level=settings.log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    folder = _folder(settings)
    state_folder.make(folder)
    lock = state_folder.FolderLock(folder)
    try:
        return Agent(dataclasses.replace(settings, sampling="runs"), folder, command).run()
    finally:
        lock.release()


def _folder(settings: DaemonSettings) -> Path:
    """One for each machine and daemon: a home folder may be every node's."""
    mark = hashlib.sha256(settings.endpoint.encode()).hexdigest()[:8]
    return settings.state_dir / "nodes" / f"{os.uname().nodename}-{mark}"


class Agent:
    """See the module's head. Also where Sampling learns what trains here, and brings its samples."""

    def __init__(self, settings: DaemonSettings, folder: Path, command: Sequence[str] = SAMPLER_COMMAND) -> None:
        self._endpoint = settings.endpoint
        self._host = os.uname().nodename
        self._boot_id = leftovers.boot_id()
        self._bell = Bell()
        self._stopping = False
        self._runs: dict[int, tuple[Run, RunSpec]] = {}
        self._heeded = Standing()
        self._told_at_home = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._bell.fileno(), selectors.EVENT_READ)
        self._counters = Counters()
        self._streams = Streams(settings.endpoint, settings.spool_dir, self._host)
        self._asker = Asker(settings.endpoint, settings.spool_dir, self._host, self._bell.ring)
        self._events = NodeEvents(self._tell)
        self._sampling = Sampling(
            settings, self, self, Health(), self._counters, self._events, self._selector, command, log_dir=folder
        )
        self._findings = Findings(self._events, self._tell)
        self._rules = MachineRules(limits_of(settings.health), self._sampling, self._events, self._findings)
        self._slow_ranks = SlowRanks()
        self._rules_looked_s = 0.0
        self._sampled: frozenset[int] = frozenset()
        self._sampling.machine.listen(self._reading, self._happened)

    # What Sampling asks.

    def training_sessions(self) -> list[tuple[int, str, bytes]]:
        """(run, its key, hello) of every training process here."""
        return [(number, run.key, hello) for number, (run, _) in self._runs.items() for hello in run.hellos]

    def nodes(self) -> dict[int, int]:
        """On how many machines each run trains."""
        return {number: run.nodes for number, (run, _) in self._runs.items()}

    def give_samples(self, run_id: int, samples: control.Samples) -> bool:
        """Add samples to a run; False when they are lost."""
        found = self._runs.get(run_id)
        return found is not None and self._streams.give(found[1], samples)

    def step_of(self, run_id: int) -> int | None:
        """Nothing is known of steps here."""
        return None

    # What the rules are fed with, and whom they tell.

    def _reading(self, reading: Reading) -> None:
        with self._guarded():
            self._rules.reading(reading)

    def _happened(self, event: Event) -> None:
        with self._guarded():
            self._rules.happened(event)

    def _tell(self, key: str, event: records.Event) -> None:
        for run, spec in self._runs.values():
            if run.key == key and not self._streams.tell(spec, event):
                log.warning("event_untold run=%s kind=%s", key, event.kind)

    def _look_at_rules(self, now_s: float) -> None:
        """What time and runs that have gone have brought about."""
        if now_s - self._rules_looked_s < RULES_LOOK_S:
            return
        self._rules_looked_s = now_s
        with self._guarded():
            self._rules.let_go(time.time())
            sampled = frozenset(self._sampling.watched)
            if gone := self._sampled - sampled:
                over = self._rules.over_without(gone)
                for rule, subject, _ in self._events.active():
                    if not sampled or subject in over:
                        self._rules.forget(subject)
                        self._findings.cleared(BY_NAME[rule], subject, "nothing of the run is here any more", [])
            self._sampled = sampled
            here = [run for run, _ in self._runs.values()]
            for key, event in self._slow_ranks.look(here, self._sampling.watched, self._sampling.machine):
                log.warning("slow_rank run=%s rank=%s cause=%r", key, event.rank, event.advice)
                self._tell(key, event)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """A defect of the rules costs what was just looked at, never the samples."""
        try:
            yield
        except Exception as error:
            log.exception("health_failed")
            self._counters.defect("health_errors", error)

    # The main thread.

    def run(self) -> int:
        """Until told to stop; the exit code."""
        with self._signals_ring():
            log.info("node host=%s endpoint=%s pid=%d", self._host, self._endpoint, os.getpid())
            self._asker.start()
            try:
                while not self._stopping:
                    self._turn()
            finally:
                self._asker.close()
                self._sampling.close()
                all_sent = self._streams.close(CLOSE_TIMEOUT_S)
                self._selector.close()
                self._bell.close()
        passed, dropped = self._counters["samples_passed_on"], self._counters["samples_dropped"]
        rest = "" if all_sent else "; the last lie in the spool: `telemetryd push` ships them"
        log.info("stopped values=%d dropped=%d", passed, dropped)
        print(f"telemetryd: stopped; {passed} values sampled, {dropped} dropped{rest}", file=sys.stderr, flush=True)
        return 0

    def _turn(self) -> None:
        for key, _ in self._selector.select(TURN_S):
            if key.data is None:
                self._bell.silence()
            else:
                self._sampling.handle(time.monotonic())
        standing = self._asker.standing
        news = standing is not self._heeded
        if news:
            self._heeded = standing
            self._follow(standing)
        self._sampling.look(time.monotonic(), sessions_changed=news)
        self._look_at_rules(time.monotonic())
        self._streams.keep({run.key for run, _ in self._runs.values()})

    def _follow(self, standing: Standing) -> None:
        """Other runs train here than before, or other processes."""
        at_home = bool(self._boot_id) and (standing.host, standing.boot_id) == (self._host, self._boot_id)
        if at_home and standing.sampling != "off":
            if not self._told_at_home:
                self._told_at_home = True
                log.info("at_home the daemon at %s runs on this machine and samples it itself", self._endpoint)
            self._runs = {}
            return
        named = {run.run: (run, run.spec()) for run in standing.runs}
        self._runs = {number: (run, spec) for number, (run, spec) in named.items() if spec is not None}

    def _signals_ring(self) -> contextlib.AbstractContextManager[None]:
        """SIGTERM, SIGINT and SIGHUP stop, SIGCHLD wakes."""

        def stop(signum: int, frame: object) -> None:
            self._stopping = True

        stops = dict.fromkeys((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), stop)
        return ringing(self._bell.signal_fd, {**stops, signal.SIGCHLD: lambda signum, frame: None})
