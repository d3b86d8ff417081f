"""The run worker's loop: inbox → delivery → sink, orders in, reports out. The process around it is worker_main.

What ends it
    Finish   everything up to a batch is delivered and confirmed, the run is finished in wandb, Finished is reported
    Stop     what can be delivered in the given time is, the run stays unfinished; wandb-core is ended without an exit
             record, because wandb has no other way to leave a run open, after what it wrote can be read back
    SinkError  reported as Trouble; the process exits and the supervisor starts another one
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator

from telemetryd.inbox.content import Places
from telemetryd.inbox.reader import EndedArtifact, InboxReader
from telemetryd.runs import control, rewinds, wandb_settings
from telemetryd.runs.delivery import Delivery
from telemetryd.runs.errors import SinkError
from telemetryd.runs.kept import Kept
from telemetryd.runs.ledger_summary import artifact_summary, ledger_summary
from telemetryd.runs.limits import (
    CONFIRM_INTERVAL_S,
    IDLE_POLL_S,
    PREFLIGHT_INTERVAL_S,
    PROGRESS_INTERVAL_S,
    READ_MAX_BYTES,
)
from telemetryd.runs.newest import newest_values
from telemetryd.runs.notes import Notebook, Rewind
from telemetryd.runs.pipes import Orders, Reports
from telemetryd.runs.sink import Sink
from telemetryd.runs.uploads import Uploads

log = logging.getLogger(__name__)

_NO_LIMIT = 2**63 - 1


class Worker:
    """One run's delivery until it is finished or told to stop."""

    def __init__(
        self,
        reader: InboxReader,
        run_id: int,
        sink: Sink,
        delivery: Delivery,
        notebook: Notebook,
        orders: Orders,
        reports: Reports,
        places: Places,
        kept: Kept,
        settle_again: Callable[[], None] = lambda: None,
        *,
        at_rewind: bool = False,
    ) -> None:
        """`places` is where the content of artifacts is found, `kept` where that of offline files stays. `settle_again`
        is called when the daemon has made the state folder anew: what lies there must be put back. `at_rewind`: the
        delivery stands where the run is rewound, if that can be done."""
        self._settle_again = settle_again
        self._at_rewind = at_rewind
        self._reader = reader
        self._run_id = run_id
        self._sink = sink
        self._delivery = delivery
        self._notebook = notebook
        self._orders = orders
        self._reports = reports
        self._places = places
        self._kept = kept
        self._uploads: Uploads | None = None
        self._finish: control.Finish | None = None
        self._stop_at_s: float | None = None
        self._reported: control.Progress | None = None
        self._reported_at_s = 0.0
        self._looked_at_s = 0.0
        self._still_at = (-1, 0.0)
        """The last batch taken, and when it was."""
        self._in_trouble = ""
        """The reason of the trouble that was told and is not over."""

    def run(self) -> None:
        """Work until finished or stopped. Raises SinkError, InboxUnavailableError."""
        if not self._await_sink():
            return
        started = self._sink.open()
        notes = self._notebook.notes
        if self._at_rewind and notes.rewind is not None and notes.rewind.state == "done":
            self._delivery.rewind(notes.rewind.step + 1)
        there = self._sink.existing(self._delivery.rows.next_step)
        first = notes.history[0].starting_step if notes.history else 0
        self._delivery.resume(first, there, notes.ends, notes.flushes)
        self._reports.send(started)
        self._tell_refusal()
        self._uploads = self._start_uploads()
        log.info("started directory=%s mode=%s already=%d", started.directory, started.mode, len(there.steps))
        while not self._stopping_now():
            caught_up = self._take_some()
            if caught_up:
                self._flush_ranks()
            self._confirm()
            self._report()
            self._show_samples()
            if caught_up and self._stop_at_s is not None and self._delivery.settled:
                break
            if caught_up and self._finish is not None and self._delivery.taken >= self._last():
                self._end(self._finish)
                return
            self._wait(caught_up)
        self._report(final=True)

    def _tell_refusal(self) -> None:
        rewind = self._notebook.notes.rewind
        if rewind is not None and rewind.state == "refused" and not rewind.told:
            self._reports.send(control.Notice("rewind_refused", rewinds.refusal(rewind)))
            rewind.told = True
            self._notebook.save()

    def _start_uploads(self) -> Uploads:
        sink = self._sink
        self._settle_data(online=sink.artifacts().online)
        uploads = Uploads(
            self._reader.path,
            self._run_id,
            self._places,
            self._kept,
            sink.artifacts(),
            self._reports.send,
            sink.recorded_artifacts(),
            sink.artifacts_readable,
        )
        uploads.start()
        return uploads

    def _settle_data(self, *, online: bool) -> None:
        if not online:
            wandb_settings.keep_data(os.environ, self._reader.path.parent, str(self._run_id), self._kept.folder)

    def _await_sink(self) -> bool:
        """Until the sink can be opened; False when the worker is to stop before."""
        while (trouble := self._sink.preflight()) is not None:
            self._tell(trouble)
            self._obey(self._orders.next(PREFLIGHT_INTERVAL_S))
            self._obey_all()
            if self._stop_at_s is not None:
                return False
        self._in_trouble = ""  # Started ends it
        return True

    # -- orders ----------------------------------------------------------------------------------------------------

    def _obey(self, order: control.Order | None) -> None:
        if isinstance(order, control.Finish):
            self._finish = order
        elif isinstance(order, control.Wake):
            if self._uploads is not None:
                self._uploads.wake()
        elif isinstance(order, control.Stop):
            deadline = time.monotonic() + order.within_s
            self._stop_at_s = min(deadline, self._stop_at_s or deadline)
            self._sink.hurry()

    def _obey_all(self) -> None:
        while (order := self._orders.next(0)) is not None:
            self._obey(order)

    def _stopping_now(self) -> bool:
        return self._stop_at_s is not None and time.monotonic() >= self._stop_at_s

    def _last(self) -> int:
        return min(self._finish.last, self._newest) if self._finish is not None else 0

    def _wait(self, caught_up: bool) -> None:
        """Until there is something to do: an order, the next look at the file, the next report, or the idle poll."""
        behind = not caught_up and not self._delivery.full
        if behind:
            self._obey_all()
            return
        settled = self._delivery.settled and self._reported is not None
        timeout = IDLE_POLL_S if settled and not self._unreported() else CONFIRM_INTERVAL_S
        if self._stop_at_s is not None:
            timeout = min(timeout, max(0.0, self._stop_at_s - time.monotonic()))
        self._obey(self._orders.next(timeout))
        self._obey_all()

    # -- work ------------------------------------------------------------------------------------------------------

    _newest = 0

    def _take_some(self) -> bool:
        """Take batches until a chunk is through or enough is unconfirmed; True when nothing was left to take."""
        delivery = self._delivery
        if delivery.full:
            return False
        if self._reader.follow():
            log.warning("inbox_followed path=%s", self._reader.path)
            self._settle_again()
        upto = self._finish.last if self._finish is not None else _NO_LIMIT
        self._newest = max(self._newest, self._reader.newest(self._run_id))
        batches = self._reader.batches(self._run_id, delivery.taken, upto, READ_MAX_BYTES)
        for batch in batches:
            if (rewind := rewinds.news(self._notebook, batch)) is not None:
                self._rewind(rewind)
                return False
            delivery.take(batch)
            self._obey_all()
            self._confirm()
            self._report()
            if self._stopping_now() or delivery.full:
                break
        self._sink.flush()
        if batches and delivery.taken < batches[-1].number:
            return False
        delivery.checkpoint()
        return not batches

    def _rewind(self, rewind: Rewind) -> None:
        """See everything before it delivered and confirmed, and leave the rest to the next worker. Raises SinkError;
        returns when told to stop before."""
        delivery = self._delivery
        if not self._settle_delivery():
            return
        rewind.cursor, rewind.snapshot = delivery.cursor, delivery.snapshot
        self._notebook.notes.rewind = rewind
        self._notebook.save()
        self._report(final=True)
        raise SinkError(control.REWIND, f"the run goes back to step {rewind.step}, as resume_from asks")

    def _settle_delivery(self, *, artifacts: bool = False) -> bool:
        """Write the last rows of what was taken, and see everything confirmed; False when told to stop before."""
        self._notebook.add_end(self._delivery.taken)
        self._delivery.end()
        self._sink.flush()
        self._sink.hurry()
        while not (
            self._delivery.settled
            and self._sink.is_confirmed(self._sink.written())
            and (not artifacts or self._artifacts_settled())
        ):
            self._confirm()
            self._report()
            if self._stopping_now():
                return False
            self._obey(self._orders.next(CONFIRM_INTERVAL_S))
        return True

    def _flush_ranks(self) -> None:
        """Write what waits for ranks when nothing at all has come for as long as a row may wait."""
        now, taken = time.monotonic(), self._delivery.taken
        if taken != self._still_at[0]:
            self._still_at = (taken, now)
        elif self._delivery.ranks.flushable and now - self._still_at[1] >= self._delivery.ranks.timeout_s:
            self._notebook.add_flush(taken, self._delivery.cursor)
            self._delivery.flush()
            self._sink.flush()

    def _confirm(self) -> None:
        now = time.monotonic()
        if now - self._looked_at_s < (IDLE_POLL_S if self._delivery.settled else CONFIRM_INTERVAL_S):
            return
        self._looked_at_s = now
        self._delivery.confirm()
        if self._uploads is not None and self._uploads.failure is not None:
            raise self._uploads.failure
        self._tell(self._sink.check())

    def _tell(self, trouble: control.Trouble | None) -> None:
        """Report trouble when it begins or changes its kind, and its end."""
        reason = trouble.reason if trouble is not None else ""
        if reason == self._in_trouble:
            return
        self._in_trouble = reason
        log.info("trouble reason=%s message=%r", reason, trouble.message if trouble is not None else "over")
        self._reports.send(trouble if trouble is not None else control.Recovered())

    def _end(self, order: control.Finish) -> None:
        """Write the last rows, see everything confirmed, and finish the run in wandb."""
        settled = self._settle_delivery(artifacts=True)
        self._report(final=True)
        if not settled:
            return
        self._show_samples()
        self._sink.summary(ledger_summary(self._reader.sessions(self._run_id), self._delivery))
        if (artifacts := artifact_summary(self._reader.ended_artifacts(self._run_id), self._ended_here())) is not None:
            self._sink.summary(artifacts)
        with self._watched_finish():
            self._sink.finish(order.exit_code)
        self._delivery.finished()
        if self._sink.artifacts().online:
            wandb_settings.leave_house(self._reader.path.parent, str(self._run_id))
        self._reports.send(control.Finished(order.exit_code))
        log.info("finished exit_code=%d delivered=%d", order.exit_code, self._delivery.delivered)

    def _artifacts_settled(self) -> bool:
        return self._uploads is None or self._uploads.settled()

    def _ended_here(self) -> list[EndedArtifact]:
        return self._uploads.ended() if self._uploads is not None else []

    @contextlib.contextmanager
    def _watched_finish(self) -> Iterator[None]:
        """Report trouble while the main thread waits inside wandb; nothing else reports meanwhile."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(IDLE_POLL_S):
                self._tell(self._sink.while_finishing())

        watcher = threading.Thread(target=watch, name="finish-watch", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _show_samples(self) -> None:
        """Into the System panel with what has come of the machine's samples."""
        waiting, lost = self._orders.samples.take()
        delivery = self._delivery  # has had those of other nodes
        shown, lost = delivery.samples_shown, lost + delivery.samples_lost
        delivery.samples_shown = delivery.samples_lost = 0
        for samples in waiting:
            if self._sink.samples(samples.time_ns, samples.values):
                shown += len(samples.values)
            else:
                lost += len(samples.values)
        if shown or lost:
            self._reports.send(control.Sampled(shown, lost))

    # -- reports ---------------------------------------------------------------------------------------------------

    def _progress(self) -> control.Progress:
        delivery = self._delivery
        return control.Progress(
            delivery.cursor,
            delivery.snapshot,
            delivery.delivered,
            delivery.dropped,
            delivery.rows.late,
            delivery.ranks.view(),
            max(0, delivery.rows.next_step - 1),
            delivery.media_lost,
            newest_values(delivery.newest_row),
        )

    def _unreported(self) -> bool:
        return self._progress() != self._reported

    def _report(self, *, final: bool = False) -> None:
        while self._delivery.losses_seen:
            self._reports.send(control.LossSeen(*self._delivery.losses_seen.pop(0)))
        now = time.monotonic()
        if not final and now - self._reported_at_s < PROGRESS_INTERVAL_S:
            return
        progress = self._progress()
        if progress == self._reported:
            return
        self._reports.send(progress)
        self._reported, self._reported_at_s = progress, now
