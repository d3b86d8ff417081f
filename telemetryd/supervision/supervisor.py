"""Which run has a worker, what the worker is told, and what becomes of what it reports.

    run open or closing ──► a worker (at most `max_workers` at once, oldest runs first)
    run closing         ──► Finish(exit code, last batch)      ──Finished──► run finished, worker gone
    worker ends early   ──► restarted after a pause (restart_policy.py)
    worker says nothing ──► killed, then as above
    daemon stops        ──► Stop; what is not delivered by the deadline stays in the inbox

Runs on the daemon's main thread, which owns it. Only this process writes to the inbox: workers report.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import random
import selectors
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from telemetryd.errors import ApiKeyError, InboxError
from telemetryd.health.counters import Counters
from telemetryd.health.deliveries import Deliveries, Newest
from telemetryd.health.events import Event, Events
from telemetryd.health.status import Health, State
from telemetryd.inbox.arrivals import is_awaited
from telemetryd.inbox.ledger import with_media
from telemetryd.inbox.store import Inbox
from telemetryd.limits import (
    ARRIVAL_GRACE_S,
    CALM_TICK_S,
    INBOX_DELETE_SLICE,
    ORPHANS_LOOK_S,
    RESTART_FIRST_DELAY_S,
    WAKE_INTERVAL_S,
    WORKER_EXIT_GRACE_S,
    WORKER_KILL_GRACE_S,
)
from telemetryd.runs import control
from telemetryd.runs.lifecycle import closing_code
from telemetryd.settings import api_key
from telemetryd.supervision import leftovers
from telemetryd.supervision.keeper import Keeper
from telemetryd.supervision.key_watch import KeyWatch
from telemetryd.supervision.leftovers import WorkerRecord
from telemetryd.supervision.shutdown import Shutdown
from telemetryd.supervision.stragglers import Stragglers
from telemetryd.supervision.worker_process import WorkerProcess

log = logging.getLogger(__name__)

COMPONENT = "workers"
_DELETE_SLICES_PER_TURN = 16


class Guard(Protocol):
    """What the supervisor asks of whoever watches over the health of runs (watchdog.py)."""

    def may_close(self, run_id: int) -> bool:
        """Whether a run all of whose sessions are over may be closed now. Raises InboxError."""

    def slow_because(self, run: str, rank: int) -> str:
        """Why a rank is likely to be slow; empty where nothing tells."""

    def loss_seen(self, run_id: int, key: str, report: control.LossSeen) -> None:
        """A run's worker saw a loss that is not finite, or is again."""


class Unguarded:
    """Nobody watches."""

    def may_close(self, run_id: int) -> bool:
        """Any time."""
        return True

    def slow_because(self, run: str, rank: int) -> str:
        """Nothing tells."""
        return ""

    def loss_seen(self, run_id: int, key: str, report: control.LossSeen) -> None:
        """So be it."""


class Supervisor:
    """The runs and their workers."""

    def __init__(
        self,
        inbox: Inbox,
        state_dir: Path,
        spool_dir: Path,
        command: Sequence[str],
        max_workers: int,
        health: Health,
        counters: Counters,
        deliveries: Deliveries,
        run_changed: Callable[[int, bool], None],
        selector: selectors.BaseSelector,
        spared: Callable[[], Collection[int]] = tuple,
        artifact_ended: Callable[[], None] = lambda: None,
        events: Events | None = None,
    ) -> None:
        """`run_changed(run, important)` is called when what clients see of a run has changed, `artifact_ended` when an
        artifact's content is not needed any more. `spared` are children that are somebody else's. A slow rank becomes
        one of `events`."""
        self._events = events or Events()
        self.guard: Guard = Unguarded()
        self._stragglers = Stragglers(lambda run, rank: self.guard.slow_because(run, rank))
        self._spared = spared
        self._artifact_ended = artifact_ended
        self._inbox = inbox
        self._folder = state_dir / "workers"
        self._spool_dir = spool_dir
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._record = WorkerRecord(state_dir)
        self._command = command
        self._max_workers = max_workers
        self._health = health
        self._counters = counters
        self._deliveries = deliveries
        self._run_changed = run_changed
        self._selector = selector
        self._keepers: dict[int, Keeper] = {}
        self._jitter = random.Random()
        self._keys = KeyWatch(os.environ)
        self._key_is_news = True
        self._key_changed_s = -math.inf
        self.child_ended = True
        """A child of this process has ended, which may have left children of its own to us. Set by whoever hears so."""
        self._next_orphans_s = -math.inf
        counters.add("workers_killed", self._record.clear_away())
        health.set(COMPONENT, State.OK)

    @property
    def workers(self) -> list[WorkerProcess]:
        """The workers that live, or have not been reaped."""
        return [keeper.worker for keeper in self._keepers.values() if keeper.worker is not None]

    def own_processes(self) -> list[tuple[str, int, int | None]]:
        """Of each run with a worker: its key, the worker and its wandb-core. May be called from any thread."""
        keepers = [(keeper.run.key, keeper.worker) for keeper in list(self._keepers.values())]
        return [(key, worker.pid, worker.core.pid if worker.core else None) for key, worker in keepers if worker]

    def folder_lost(self) -> None:
        """The state folder was removed and made anew: put there what it had, and tell the workers to look."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write_record()
        for keeper in self._keepers.values():
            if keeper.worker is not None:
                keeper.worker.send(control.Wake())
            elif keeper.notes and not (notes := self._notes_path(keeper.run.run_id)).exists():
                notes.write_bytes(keeper.notes)

    def settled(self) -> bool:
        """Whether nothing more can be delivered: every run is finished, or refused until somebody acts."""
        return all(keeper.refused for keeper in self._keepers.values())

    def look(self, now_s: float, shutdown: Shutdown) -> None:
        """Everything that time or the inbox may have brought about. Raises InboxError."""
        self._reap(now_s)
        self._heed_key(now_s)
        runs = {run.run_id: run for run in self._inbox.progress.active()}
        for run_id, run in runs.items():
            keeper = self._keepers.setdefault(run_id, Keeper(run))
            keeper.run = run
            self._retry_progress(keeper)
            self._retry_artifacts(keeper)
            self._close_if_over(keeper, now_s)
        for run_id, keeper in list(self._keepers.items()):
            self._delete_confirmed(keeper)
            if run_id not in runs:
                keeper.run = dataclasses.replace(keeper.run, state="finished")
            if run_id not in runs and keeper.worker is None and not keeper.to_delete:
                del self._keepers[run_id]
                self._deliveries.forget(run_id)
        self._start_workers(now_s, shutdown)
        for keeper in self._keepers.values():
            self._attend(keeper, now_s, shutdown)
        self._show_health()

    def calm(self) -> bool:
        """Whether nothing is under way that the passing of time would bring on."""
        return all(keeper.calm for keeper in self._keepers.values())

    def next_s(self, now_s: float) -> float:
        """When to look again at the latest."""
        waits = [CALM_TICK_S]
        waits += [keeper.woken_s + WAKE_INTERVAL_S - now_s for keeper in self._keepers.values() if keeper.wake_due]
        return max(0.0, min(waits))

    def wake(self, runs: set[int], now_s: float) -> bool:
        """Tell the workers of these runs that there is news; False when one of the runs is not known yet."""
        for run_id in runs:
            keeper = self._keepers.get(run_id)
            if keeper is not None:
                keeper.wake(now_s)
        return runs <= self._keepers.keys()

    def wake_due(self, now_s: float) -> None:
        """Send the wakes that had to wait."""
        for keeper in self._keepers.values():
            if keeper.wake_due:
                keeper.wake(now_s)

    def _heed_key(self, now_s: float) -> None:
        """With another W&B key, refused runs are tried at once, and runs finished for want of one are taken up."""
        if self._keys.changed(now_s):
            log.info("key_changed")
            self._key_is_news = True
            self._key_changed_s = now_s
            for keeper in self._keepers.values():
                if keeper.refused and keeper.worker is None:
                    keeper.next_start_s, keeper.policy.failures = now_s, 0
        if not self._key_is_news:
            return
        self._key_is_news = False
        try:
            key = api_key.find(api_key.server_url(os.environ), os.environ)
        except ApiKeyError as error:
            log.warning("key_unusable reason=%r", str(error))
            return
        if key is None:
            return
        found = self._inbox.progress.finished_offline()
        there = {run_id: folder for run_id, folder in found if Path(folder).is_dir()}
        runs = [run_id for run_id in there if self._notes_path(run_id).exists()]
        for run_id in there.keys() - set(runs):  # its rows are in its files, and nobody knows any more which those are
            log.warning("run_stays_offline run=%d reason=%r", run_id, f"its notes are gone: wandb sync {there[run_id]}")
        if runs:
            log.info("key_for_offline_runs runs=%r", runs)
            self._inbox.progress.close_again(runs)

    # Samples.

    def give_samples(self, run_id: int, samples: control.Samples) -> bool:
        """Pass samples of the machine to the run's worker; False when it cannot take them now."""
        keeper = self._keepers.get(run_id)
        return keeper is not None and keeper.worker is not None and keeper.worker.give_samples(samples)

    def step_of(self, run_id: int) -> int | None:
        """The newest step that the run's worker has seen."""
        keeper = self._keepers.get(run_id)
        return keeper.step if keeper is not None else None

    # Lifecycle.

    def _close_if_over(self, keeper: Keeper, now_s: float) -> None:
        run = keeper.run
        if run.state != "open" or run.open_sessions:
            keeper.idle_since_s = None
            return
        if keeper.idle_since_s is None:
            keeper.idle_since_s = now_s
        waited_s = now_s - keeper.idle_since_s
        if waited_s < ARRIVAL_GRACE_S and is_awaited(self._inbox.database, self._spool_dir, run.key):
            return
        if not self.guard.may_close(run.run_id):
            return
        closed = self._inbox.progress.close(run.run_id, lambda sessions: closing_code(sessions, waited_s))
        if closed is not None:
            code, last = closed
            log.info("run_closing run=%d key=%s exit_code=%d last_batch=%d", run.run_id, run.key, code, last)
            keeper.run = dataclasses.replace(run, state="closing", closing_code=code, closing_batch=last)
            self._run_changed(run.run_id, True)

    def _start_workers(self, now_s: float, shutdown: Shutdown) -> None:
        room = self._max_workers - len(self.workers)
        wanting = [
            keeper
            for keeper in self._keepers.values()
            if keeper.worker is None and keeper.run.state != "finished" and not keeper.finished
        ]
        if shutdown.draining:
            wanting = [keeper for keeper in wanting if keeper.run.has_backlog or keeper.run.state == "closing"]
            if shutdown.left_s(now_s) <= 0:
                return
        wanting.sort(
            key=lambda keeper: (not (keeper.run.has_backlog or keeper.run.state == "closing"), keeper.run.run_id)
        )
        for keeper in wanting:
            if room <= 0:
                if self._deliveries.set(keeper.run.run_id, "starting", "waits for one of the workers to be free"):
                    self._run_changed(keeper.run.run_id, False)
            elif now_s >= keeper.next_start_s:
                self._start(keeper, now_s)
                room -= 1

    def _start(self, keeper: Keeper, now_s: float) -> None:
        run_id = keeper.run.run_id
        try:
            worker = WorkerProcess(self._command, run_id, self._inbox.path, self._folder, now_s)
        except OSError as error:
            self._failed(keeper, 0.0, f"the run's worker cannot be started: {error}", now_s)
            return
        log.info("worker_started run=%d key=%s pid=%d", run_id, keeper.run.key, worker.pid)
        self._counters.add("workers_started")
        keeper.started(worker, now_s)
        self._selector.register(worker.reports_fd, selectors.EVENT_READ, keeper)
        self._write_record()
        if keeper.policy.failures == 0 and self._deliveries.set(run_id, "starting"):
            self._run_changed(run_id, False)

    def _attend(self, keeper: Keeper, now_s: float, shutdown: Shutdown) -> None:
        """Give the worker what orders are due."""
        worker, run = keeper.worker, keeper.run
        if worker is None:
            return
        worker.flush()
        if keeper.wake_due:
            keeper.wake(now_s)
        # Once a worker: it may be finishing already, and what came since then is for the next one.
        if run.state == "closing" and run.closing_code is not None and keeper.finish is None and not keeper.finished:
            keeper.finish = (run.closing_code, run.closing_batch or 0)
            worker.send(control.Finish(*keeper.finish))
        left_s = shutdown.left_s(now_s)
        to_stop = keeper.finish is None or keeper.refused or left_s <= 0
        if shutdown.draining and to_stop and not keeper.stopping:
            keeper.stopping = True
            worker.send(control.Stop(left_s))
        if not (run.has_backlog or keeper.finish):
            keeper.heard_s = now_s  # nothing is expected of it
        if keeper.finished and now_s - keeper.heard_s >= WORKER_EXIT_GRACE_S:
            log.warning("worker_lingers run=%d pid=%d", run.run_id, worker.pid)
            self._kill(worker)
        elif keeper.hung(now_s):
            log.error("worker_hung run=%d pid=%d silent_s=%.0f", run.run_id, worker.pid, now_s - keeper.heard_s)
            self._kill(worker)
            keeper.heard_s = now_s

    # Reports.

    def handle(self, keeper: Keeper, now_s: float) -> None:
        """A worker's report pipe is readable."""
        worker = keeper.worker
        if worker is None:
            return
        try:
            reports, closed = worker.read()
        except ValueError as error:
            log.error("worker_speaks_nonsense run=%d pid=%d error=%r", worker.run_id, worker.pid, str(error))
            self._kill(worker)
            closed, reports = True, []
        for report in reports:
            keeper.heard_s = now_s
            self._take(keeper, worker, report)
        if closed:  # the exit follows; it is reaped on SIGCHLD or at the next tick
            self._unregister(worker)

    def _take(self, keeper: Keeper, worker: WorkerProcess, report: control.Report) -> None:
        run_id = worker.run_id
        if isinstance(report, control.Progress):
            keeper.waiting_progress = report
            self._deliveries.set_ranks(run_id, report.ranks)
            straggler = self._stragglers.look(keeper.run.key, report.ranks, time.time_ns())
            if straggler is not None:
                log.warning("straggler run=%s rank=%s message=%r", straggler.run, straggler.rank, straggler.message)
                self._events.add(straggler)
            keeper.step = report.step if report.step is not None else keeper.step
            self._deliveries.set_newest(run_id, Newest(keeper.step, report.newest))
            self._retry_progress(keeper)
            return
        if isinstance(report, control.Sampled):
            self._counters.add("samples_published", report.published)
            self._counters.add("samples_dropped", report.dropped)
            return
        if isinstance(report, control.LossSeen):
            self.guard.loss_seen(run_id, keeper.run.key, report)
            return
        if isinstance(report, control.Notice):
            log.warning("run_notice run=%d kind=%s message=%r", run_id, report.kind, report.message)
            self._events.add(Event(time.time_ns(), report.kind, report.message, run=keeper.run.key))
            return
        important = True
        if isinstance(report, control.Started):
            worker.core = leftovers.identify(report.core_pid) if report.core_pid else None
            self._write_record()
            keeper.trouble = None
            keeper.mode = report.mode
            log.info("run_started run=%d mode=%s directory=%s", run_id, report.mode, report.directory)
            self._keep(lambda: self._inbox.progress.started(run_id, msgspec.msgpack.encode(report)))
            self._deliveries.set(run_id, "running")
        elif isinstance(report, control.Trouble):
            keeper.trouble = report
            log.warning("run_trouble run=%d permanent=%s reason=%s message=%r", run_id, report.permanent, report.reason,
                        report.message)  # fmt: skip
            important = self._deliveries.set(run_id, "refused" if report.permanent else "retrying", report.message)
        elif isinstance(report, control.Recovered):
            keeper.trouble = None
            important = self._deliveries.set(run_id, "running")
        elif isinstance(report, control.ArtifactState):
            important = self._artifact(keeper, report)
        elif isinstance(report, control.StopRequested):
            log.info("run_stop_requested run=%d", run_id)
            self._deliveries.request_stop(run_id)
        else:
            self._finished(keeper, report)
        self._run_changed(run_id, important)

    def _artifact(self, keeper: Keeper, report: control.ArtifactState) -> bool:
        """An artifact has news; whether clients are to hear of it at once."""
        if report.state == "beat":  # it only shows that the worker lives
            return False
        keeper.waiting_artifacts.append(report)
        self._retry_artifacts(keeper)
        return report.state != "uploading"

    def _retry_artifacts(self, keeper: Keeper) -> None:
        while keeper.waiting_artifacts:
            report = keeper.waiting_artifacts[0]
            kind = self._keep(partial(self._inbox.artifacts.update, *msgspec.structs.astuple(report)))
            if kind is None:
                return
            keeper.waiting_artifacts.popleft()
            if kind and kind != "use" and report.state in ("committed", "failed"):
                self._counters.add(f"artifacts_{report.state}")
            if report.state == "failed":
                log.warning("artifact_failed run=%d id=%s reason=%r", keeper.run.run_id, report.id, report.error)
            if report.state != "uploading":
                self._artifact_ended()

    def _finished(self, keeper: Keeper, report: control.Finished) -> None:
        self._retry_progress(keeper)
        self._retry_artifacts(keeper)
        keeper.finished = True
        if keeper.finish is None:
            log.error("worker_finished_unasked run=%d exit_code=%d", keeper.run.run_id, report.exit_code)
            return
        code, last = keeper.finish
        run_id = keeper.run.run_id
        done = self._keep(lambda: self._inbox.progress.finish(run_id, code, last))
        if done:
            log.info("run_finished run=%d key=%s exit_code=%d", run_id, keeper.run.key, code)
            keeper.to_delete = True
            keeper.trouble = None
            # A key that came after the worker's last look, and before the run was finished, was news to no run.
            self._key_is_news |= keeper.mode == "offline"
            self._deliveries.forget(run_id)  # the inbox says "finished" from now on

    def _retry_progress(self, keeper: Keeper) -> None:
        report = keeper.waiting_progress
        if report is None:
            return

        def advance() -> bool:
            self._inbox.progress.advance(
                keeper.run.run_id,
                report.cursor,
                report.snapshot,
                report.delivered,
                with_media(report.dropped, report.media_lost),
                report.late,
            )
            return True

        if self._keep(advance):
            keeper.waiting_progress = None
            keeper.to_delete = True
            self._run_changed(keeper.run.run_id, False)

    def _keep(self, write: Callable[[], object]) -> object:
        """Write to the inbox; None when it cannot now, which loses nothing: the worker replays, or we try again."""
        try:
            return write()
        except InboxError as error:
            self._health.set(COMPONENT, State.RECOVERABLE, f"the inbox cannot be written: {error}")
            return None

    def _delete_confirmed(self, keeper: Keeper) -> None:
        for _ in range(_DELETE_SLICES_PER_TURN):
            if not keeper.to_delete:
                return
            keeper.to_delete = self._inbox.progress.delete_confirmed(keeper.run.run_id) == INBOX_DELETE_SLICE

    # Ends.

    def _reap(self, now_s: float) -> None:
        for keeper in list(self._keepers.values()):
            worker = keeper.worker
            if worker is None:
                continue
            code = worker.poll()
            if code is not None:
                self.handle(keeper, now_s)  # what it said last
                self._ended(keeper, worker, code, now_s)
        if self.child_ended or now_s >= self._next_orphans_s:
            self.child_ended = False
            self._next_orphans_s = now_s + ORPHANS_LOOK_S
            self._reap_orphans()

    def _ended(self, keeper: Keeper, worker: WorkerProcess, code: int, now_s: float) -> None:
        worker.kill_company()
        self._unregister(worker)
        worker.close()
        keeper.worker = None
        with contextlib.suppress(OSError):  # it had none, or the folder is gone
            keeper.notes = self._notes_path(keeper.run.run_id).read_bytes()
        lived_s = now_s - worker.started_s
        log.info("worker_ended run=%d pid=%d exit_code=%d lived_s=%.1f", worker.run_id, worker.pid, code, lived_s)
        self._write_record()
        if keeper.finished:
            keeper.finished = False
            keeper.policy.failures = 0
        elif keeper.stopping and code == 0:
            keeper.next_start_s = now_s + RESTART_FIRST_DELAY_S
        elif keeper.trouble is not None and keeper.trouble.reason == control.REWIND:
            keeper.next_start_s = now_s  # as wandb needs it; nothing has failed
        else:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            self._failed(keeper, lived_s, f"the run's worker {how}; its log is {worker.log_path}", now_s)

    def _notes_path(self, run_id: int) -> Path:
        return self._folder / f"{run_id}.json"

    def _failed(self, keeper: Keeper, lived_s: float, what: str, now_s: float) -> None:
        self._counters.add("workers_failed")
        delay_s = keeper.policy.failed(lived_s, permanent=keeper.refused, jitter=self._jitter.random())
        if keeper.refused and now_s - lived_s <= self._key_changed_s:
            delay_s = 0.0  # it may have been refused with the key of before
        keeper.next_start_s = now_s + delay_s
        run_id = keeper.run.run_id
        log.warning("worker_failed run=%d what=%r restart_in_s=%.1f", run_id, what, delay_s)
        message = keeper.trouble.message if keeper.trouble is not None else what
        changed = self._deliveries.set(run_id, "refused" if keeper.refused else "retrying", message)
        self._run_changed(run_id, changed)

    def _unregister(self, worker: WorkerProcess) -> None:
        if worker.reports_fd in self._selector.get_map():
            self._selector.unregister(worker.reports_fd)

    def _reap_orphans(self) -> None:
        """Kill and reap what dead workers left: as subreaper we have become its parent."""
        children = leftovers.children()  # first: what is started after this is not in it
        living = {worker.pid for worker in self.workers} | set(self._spared())
        for pid in children:
            if pid not in living and leftovers.end_orphan(pid):
                self._counters.add("orphans_reaped")

    def _kill(self, worker: WorkerProcess) -> None:
        worker.kill()
        self._counters.add("workers_killed")

    def _write_record(self) -> None:
        living = [worker.process for worker in self.workers]
        living += [worker.core for worker in self.workers if worker.core is not None]
        self._record.write(living)

    # Stopping.

    def drained(self, now_s: float, shutdown: Shutdown) -> bool:
        """Whether no worker lives and none has to be started any more; kills those that overstay."""
        left_s = shutdown.left_s(now_s)
        if not self.workers:
            waiting = [k for k in self._keepers.values() if k.run.has_backlog or k.run.state == "closing"]
            return left_s <= 0 or not waiting or all(keeper.refused for keeper in waiting)
        deadline_s = shutdown.deadline_s
        if deadline_s is not None and now_s >= deadline_s + WORKER_KILL_GRACE_S:
            for worker in self.workers:
                log.warning("worker_overstays run=%d pid=%d", worker.run_id, worker.pid)
                self._kill(worker)
        return False

    def hurry(self, now_s: float, shutdown: Shutdown) -> None:
        """The deadline has come near: tell every worker, those that finish a run too."""
        for keeper in self._keepers.values():
            if keeper.worker is not None:
                keeper.stopping = True
                keeper.worker.send(control.Stop(shutdown.left_s(now_s)))

    def _show_health(self) -> None:
        troubled = [
            k for k in self._keepers.values() if k.trouble is not None or (k.policy.failures and k.worker is None)
        ]
        if not troubled:
            self._health.set(COMPONENT, State.OK)
            return
        first = troubled[0]
        said = self._deliveries.get(first.run.run_id).trouble
        state = State.PERMANENT if all(keeper.refused for keeper in troubled) else State.RECOVERABLE
        self._health.set(COMPONENT, state, f"{len(troubled)} of {len(self._keepers)} runs: {said}")

    def close(self) -> None:
        """Kill and reap whatever is left."""
        for keeper in self._keepers.values():
            worker = keeper.worker
            if worker is not None:
                self._kill(worker)
                worker.wait()
                self._unregister(worker)
                worker.close()
                keeper.worker = None
        self._reap_orphans()
        self._record.write([])
        self._health.set(COMPONENT, State.STOPPED)
