"""What the supervisor remembers of one run that is not finished: its worker, and when the next one may start."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from telemetryd.inbox.progress import RunState
from telemetryd.limits import WAKE_INTERVAL_S, WORKER_SILENT_MAX_S
from telemetryd.runs import control
from telemetryd.supervision.restart_policy import RestartPolicy
from telemetryd.supervision.worker_process import WorkerProcess


@dataclass
class Keeper:
    """One run. Times are seconds of the supervisor's clock."""

    run: RunState
    worker: WorkerProcess | None = None
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    next_start_s: float = 0.0
    trouble: control.Trouble | None = None
    finish: tuple[int, int] | None = None
    """(exit code, last batch) of the Finish order that this worker was given."""
    mode: str = ""
    """Where the newest worker writes the run: "online" or "offline"; empty before one has told."""
    step: int | None = None
    """The newest step that its worker has seen."""
    finished: bool = False
    """The worker has reported Finished."""
    stopping: bool = False
    """The worker was told to stop."""
    heard_s: float = 0.0
    woken_s: float = 0.0
    wake_due: bool = False
    idle_since_s: float | None = None
    """Since when none of the run's sessions has been open."""
    waiting_progress: control.Progress | None = None
    """A report that the inbox could not take yet."""
    notes: bytes = b""
    """What the last worker had noted for the next one (runs/notes.py): a copy, for when its file is removed."""
    waiting_artifacts: deque[control.ArtifactState] = field(default_factory=deque)
    """Reports on artifacts that the inbox could not take yet."""
    to_delete: bool = False
    """Confirmed batches are still to be deleted."""

    def started(self, worker: WorkerProcess, now_s: float) -> None:
        """A worker was started."""
        self.worker = worker
        self.finish, self.finished, self.stopping = None, False, False
        self.heard_s = self.woken_s = now_s
        self.wake_due = False

    def wake(self, now_s: float) -> None:
        """Tell the worker that there is news, now or as soon as the last time is long enough ago."""
        if self.worker is None:
            return
        if now_s - self.woken_s >= WAKE_INTERVAL_S:
            self.woken_s, self.wake_due = now_s, False
            self.worker.send(control.Wake())
        else:
            self.wake_due = True

    def hung(self, now_s: float) -> bool:
        """Whether the worker has work and has said nothing for too long, in no trouble that it told of."""
        has_work = self.run.has_backlog or self.finish is not None
        return (
            self.worker is not None
            and has_work
            and self.trouble is None
            and now_s - self.heard_s >= WORKER_SILENT_MAX_S
        )

    @property
    def calm(self) -> bool:
        """Whether the run is open, written to, and has its worker: news of it come by themselves."""
        open_ = self.run.state == "open" and self.run.open_sessions > 0 and self.worker is not None
        waiting = (
            self.to_delete or self.waiting_artifacts or self.waiting_progress is not None or self.finish is not None
        )
        return bool(open_ and not waiting and not self.stopping)

    @property
    def refused(self) -> bool:
        """Whether somebody must act before anything more of this run can be delivered."""
        return self.trouble is not None and self.trouble.permanent
