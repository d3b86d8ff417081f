"""Sampling, as the daemon runs it: the process, what it is told to watch, and where its readings go.

    open sessions ──► Watch ──► sampler process ──► Machine (newest values, 1 Hz ring, listeners)
                                                └─► the run worker of each run that is concerned ──► System panel

Readings for W&B are no rows: a worker that does not take them loses them, and that is counted. Runs on the daemon's
main thread; nothing here waits.
"""

from __future__ import annotations

import logging
import os
import random
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from telemetryd.health import events as health_events
from telemetryd.health.counters import Counters
from telemetryd.health.events import Events
from telemetryd.health.status import Health, State
from telemetryd.limits import SAMPLER_IDLE_S, SAMPLER_SILENT_MAX_S
from telemetryd.runs import control
from telemetryd.sampling import view
from telemetryd.sampling.machine import Machine
from telemetryd.sampling.messages import Beat, Condition, Devices, Event, Reading, Report, Watch
from telemetryd.settings.families import periods_s
from telemetryd.supervision.restart_policy import RestartPolicy
from telemetryd.supervision.sampler_process import SAMPLER_COMMAND, SamplerProcess
from telemetryd.supervision.watched import Watched, Watchlist

log = logging.getLogger(__name__)

COMPONENT = "sampling"


class SamplingSettings(Protocol):
    """What sampling must be told; telemetryd.settings.DaemonSettings has it."""

    @property
    def endpoint(self) -> str: ...  # noqa: D102
    @property
    def state_dir(self) -> Path: ...  # noqa: D102
    @property
    def spool_dir(self) -> Path: ...  # noqa: D102
    @property
    def sampling(self) -> str: ...  # noqa: D102
    @property
    def sample_period_s(self) -> float: ...  # noqa: D102
    @property
    def sample_periods(self) -> str: ...  # noqa: D102
    @property
    def sample_all_gpus(self) -> bool: ...  # noqa: D102
    @property
    def sample_paths(self) -> str: ...  # noqa: D102
    @property
    def node_label(self) -> str: ...  # noqa: D102


class Runs(Protocol):
    """What sampling asks of the supervisor."""

    def give_samples(self, run_id: int, samples: control.Samples) -> bool:
        """Pass samples to the run's worker; False when it cannot take them now."""

    def step_of(self, run_id: int) -> int | None:
        """The newest step that the run's worker has seen."""


class Sessions(Protocol):
    """Where sampling learns who trains; telemetryd.inbox.progress.Progress on the daemon's own machine."""

    def training_sessions(self) -> list[tuple[int, str, bytes]]:
        """(run, its key, hello) of every open session of a training process."""

    def nodes(self) -> dict[int, int]:
        """On how many machines each run trains, where that is more than these sessions tell."""


class Sampling:
    """The sampler and its readings."""

    def __init__(
        self,
        settings: SamplingSettings,
        sessions: Sessions,
        runs: Runs,
        health: Health,
        counters: Counters,
        events: Events,
        selector: selectors.BaseSelector,
        command: Sequence[str] = SAMPLER_COMMAND,
        clock: Callable[[], float] = time.monotonic,
        log_dir: Path | None = None,
    ) -> None:
        """`log_dir`: where the process's log lies; else `workers` in the state folder."""
        self._log_dir = log_dir or settings.state_dir / "workers"
        self.machine = Machine()
        self._settings = settings
        self._sessions = sessions
        self._runs = runs
        self._health = health
        self._counters = counters
        self._events = events
        self._selector = selector
        self._command = command
        self._clock = clock
        self.periods_s = periods_s(settings.sample_periods, settings.sample_period_s)
        self.node = os.uname().nodename if settings.node_label in ("auto", "off") else settings.node_label
        """What this machine is called in /metrics and views."""
        self._watchlist = Watchlist(settings.node_label, local_endpoint=settings.endpoint.startswith("ipc://"))
        self._watched: dict[int, Watched] = {}
        self._told: Watch | None = None
        self._process: SamplerProcess | None = None
        self._leaving: list[SamplerProcess] = []
        self._policy = RestartPolicy()
        self._jitter = random.Random()
        self._next_start_s = 0.0
        self._idle_since_s: float | None = None
        self._conditions: dict[str, Condition] = {}
        self._dropped = 0
        if settings.sampling == "off":
            health.set(COMPONENT, State.STOPPED, "switched off (--sampling)")
        elif settings.sampling == "runs":
            health.set(COMPONENT, State.OK, "waits for a run")

    @property
    def watched(self) -> Mapping[int, Watched]:
        """The runs that are sampled, by their number."""
        return self._watched

    def pids(self) -> list[int]:
        """The processes that are ours to reap. May be called from any thread."""
        process = self._process
        living = [process] if process is not None else []
        return [process.pid for process in [*living, *self._leaving]]

    def view(self) -> dict[str, Any]:
        """The machine, as `status` tells it. May be called from any thread."""
        return view.as_map(self.machine, self.periods_s, self.node, time.time_ns())

    def look(self, now_s: float, *, sessions_changed: bool) -> None:
        """Everything that time or sessions may have brought about. Raises InboxError."""
        if self._settings.sampling == "off":
            return
        self._leaving = [process for process in self._leaving if process.poll() is None]
        if sessions_changed:
            self._renew()
        self._reap(now_s)
        wanted = bool(self._watched) or self._settings.sampling == "always"
        if wanted:
            self._idle_since_s = None
            if self._process is None and now_s >= self._next_start_s:
                self._start(now_s)
        elif self._process is not None:
            self._idle_since_s = self._idle_since_s if self._idle_since_s is not None else now_s
            if now_s - self._idle_since_s >= SAMPLER_IDLE_S:
                self._dismiss(self._process)
        process = self._process
        if process is not None:
            process.flush()
            self._tell(process)
            if now_s - process.heard_s >= SAMPLER_SILENT_MAX_S:
                log.error("sampler_silent pid=%d for_s=%.0f", process.pid, now_s - process.heard_s)
                self._counters.add("samplers_killed")
                process.kill()
                self._ended(process, None, now_s)

    def _renew(self) -> None:
        watched = self._watchlist.make(
            self._sessions.training_sessions(), self.machine.devices().devices, self._sessions.nodes()
        )
        for run in self._watched.keys() - watched.keys():
            self.machine.forget(run)
        for run, made in watched.items():
            if run in self._watched:
                made.sent_ns = self._watched[run].sent_ns
        self._watched = watched

    def _tell(self, process: SamplerProcess) -> None:
        """Tell the sampler what to watch, when that has changed."""
        always = self._settings.sampling == "always" and not self._watched
        state, spool = self._settings.state_dir, self._settings.spool_dir
        paths = ["/", *([] if spool.is_relative_to(state) else [str(state)]), str(spool)]
        paths += [path for path in self._settings.sample_paths.split(":") if path]
        watch = Watch(
            [watched.target for watched in self._watched.values()],
            self._settings.sample_all_gpus or always,
            list(dict.fromkeys(paths)),
        )
        if watch != self._told:
            self._told = watch
            process.send(watch)

    # The process.

    def _start(self, now_s: float) -> None:
        log_path = self._log_dir / "sampling.log"
        try:
            process = SamplerProcess(self._command, self.periods_s, log_path, now_s)
        except OSError as error:
            self._failed(0.0, f"the sampler cannot be started: {error}", now_s)
            return
        log.info("sampler_started pid=%d", process.pid)
        self._counters.add("samplers_started")
        self._process, self._told, self._dropped = process, None, 0
        self._conditions.clear()
        self._health.set(COMPONENT, State.STARTING)
        self._selector.register(process.reports_fd, selectors.EVENT_READ, self)

    def handle(self, now_s: float) -> None:
        """The report pipe is readable."""
        process = self._process
        if process is None:
            return
        try:
            reports, closed = process.read()
        except ValueError as error:
            log.error("sampler_speaks_nonsense pid=%d error=%r", process.pid, str(error))
            process.kill()
            reports, closed = [], True
        for report in reports:
            process.heard_s = now_s
            self._take(report)
        if closed:
            self._unregister(process)

    def _reap(self, now_s: float) -> None:
        process = self._process
        if process is not None and (code := process.poll()) is not None:
            self.handle(now_s)  # what it said last
            self._ended(process, code, now_s)

    def _ended(self, process: SamplerProcess, code: int | None, now_s: float) -> None:
        self._unregister(process)
        process.close()
        self._process = None
        if code is None:
            self._leaving.append(process)  # a driver may hold it in the kernel for a while
            how = "said nothing any more"
        else:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._failed(now_s - process.started_s, f"the sampler {how}; its log is {process.log_path}", now_s)

    def _failed(self, lived_s: float, what: str, now_s: float) -> None:
        self._counters.add("samplers_failed")
        delay_s = self._policy.failed(lived_s, permanent=False, jitter=self._jitter.random())
        self._next_start_s = now_s + delay_s
        log.warning("sampler_failed what=%r restart_in_s=%.1f", what, delay_s)
        self._health.set(COMPONENT, State.RECOVERABLE, what)

    def _dismiss(self, process: SamplerProcess) -> None:
        """Nothing is to be sampled any more."""
        self._unregister(process)
        process.close()
        self._leaving.append(process)
        self._process = None
        self._idle_since_s = None
        self._health.set(COMPONENT, State.OK, "waits for a run")

    def _unregister(self, process: SamplerProcess) -> None:
        if process.reports_fd in self._selector.get_map():
            self._selector.unregister(process.reports_fd)

    # Its reports.

    def _take(self, report: Report) -> None:
        if isinstance(report, Reading):
            self.machine.add(report)
            self._pass_on(report)
        elif isinstance(report, Event):
            self._happened(report)
        elif isinstance(report, Devices):
            self.machine.set_devices(report)
            for watched in self._watched.values():
                watched.see(report.devices)
        elif isinstance(report, Condition):
            self._conditions[report.part] = report
            self._show_health()
        elif isinstance(report, Beat):
            self._counters.add("samples_dropped", max(0, report.dropped - self._dropped))
            self._dropped = report.dropped
            self._show_health()

    def _show_health(self) -> None:
        said = [condition for condition in self._conditions.values() if condition.reason is not None]
        troubles = [condition.reason for condition in said if condition.wanting]
        if troubles:
            self._health.set(COMPONENT, State.RECOVERABLE, "; ".join(str(trouble) for trouble in troubles))
        else:
            self._health.set(COMPONENT, State.OK, said[0].reason if said else None)

    def _pass_on(self, reading: Reading) -> None:
        if not reading.families:
            return
        for watched in self._watched.values():
            if self._is_too_soon(watched, reading):
                continue
            values = dict(watched.panel.keys(reading))
            if not values:
                continue
            if self._runs.give_samples(watched.run, control.Samples(reading.time_ns, values)):
                self._counters.add("samples_passed_on", len(values))
            else:
                self._counters.add("samples_dropped", len(values))

    def _is_too_soon(self, watched: Watched, reading: Reading) -> bool:
        """The run wants fewer samples than the daemon takes."""
        if not watched.interval_s:
            return False
        what = f"{reading.scope} {','.join(reading.families)}"
        if reading.time_ns - watched.sent_ns.get(what, 0) < int(watched.interval_s * 0.95e9):
            return True
        watched.sent_ns[what] = reading.time_ns
        return False

    def _happened(self, event: Event) -> None:
        """Tie an event to the runs that it concerns, and make it known."""
        self._counters.add("gpu_events")
        concerned = [watched for watched in self._watched.values() if concerns(event, watched, self.machine)]
        none: list[Watched | None] = [None]
        for watched in concerned or none:
            uuid = event.uuid
            told = health_events.Event(
                event.time_ns,
                event.kind,
                event.message,
                event.advice,
                event.fatal,
                event.code,
                uuid,
                watched.key if watched is not None else None,
                watched.rank_on(uuid) if watched is not None and uuid else None,
                self._runs.step_of(watched.run) if watched is not None else None,
                watched.panel.ordinals.get(uuid) if watched is not None and uuid else None,
            )
            log.warning("event %s", " ".join(f"{name}={value!r}" for name, value in told.as_map().items()))
            self._events.add(told)
        self.machine.happened(event)

    def close(self) -> None:
        """End the sampler."""
        process, self._process = self._process, None
        if process is not None:
            self._unregister(process)
            process.dismiss()
            if not process.wait():
                log.warning("sampler_lingers pid=%d", process.pid)
            process.close()
        for leaving in self._leaving:
            leaving.wait()
        self._leaving.clear()
        if self._settings.sampling != "off":
            self._health.set(COMPONENT, State.STOPPED)


def concerns(event: Event, watched: Watched, machine: Machine) -> bool:
    """An event of a card concerns those who use one of its instances, too; one of the driver everybody with a GPU."""
    if event.uuid is None or event.uuid in watched.panel.ordinals:
        return bool(watched.panel.ordinals) or event.uuid is None
    parents = [machine.device(uuid) for uuid in watched.panel.ordinals]
    return any(device is not None and device.parent == event.uuid for device in parents)
