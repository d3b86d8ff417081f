"""Delivery of one run: records go in, rows and the rest are written to a sink, and the safe cursor comes out.

    records ─► Awaits ─► Ranks ─► RowAssembly ─► (already there? skip) ─► sink ─► confirmed? ─► cursor, snapshot, counts

Invariants
* `cursor` is a batch boundary up to which everything that was written is confirmed; `snapshot` is the state there.
* Replaying from (cursor, snapshot) writes exactly what is missing: a sink confirms a prefix, so while rows or output
  records are left that it has already, everything else in between is there too and is skipped. A row that should be
  there and is not was refused, and is refused again; if it is not, it is written: rather out of order than lost.
* delivered + waiting + dropped = calls taken, at every moment; a row refused by wandb is dropped, once.
* Where a run was ended (`end`), the note `ends` must be kept by the caller before the last rows are written: a worker
  that replays past this batch ends there again, or its steps would differ. The same holds for `flush` and `flushes`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from client.protocol.records import (
    Alert,
    AnyRecord,
    Attributes,
    Await,
    Blob,
    Clock,
    Config,
    End,
    Gone,
    Metric,
    Output,
    Pins,
    Preempting,
    Process,
    Rank,
    Row,
    Sample,
    Saved,
    Summary,
)
from telemetryd.inbox.reader import StoredBatch
from telemetryd.inbox.survey import add_losses
from telemetryd.runs import feed
from telemetryd.runs.awaits import Awaits, Taken
from telemetryd.runs.errors import RowRefusedError
from telemetryd.runs.ledger_summary import rank_summary
from telemetryd.runs.limits import (
    CHECKPOINT_ROWS,
    CHECKPOINTS_MAX,
    CLOCK_OFFSET_KEY,
    UNCONFIRMED_MAX_ROWS,
    UNREAD_MAX_ROWS,
)
from telemetryd.runs.loss_watch import LossWatch
from telemetryd.runs.media.blobs import BlobStore
from telemetryd.runs.media.builder import blob_refs, is_rich
from telemetryd.runs.ranks import JOINED, Call, Ranks
from telemetryd.runs.rows import FinishedRow, Late, RowAssembly
from telemetryd.runs.sink import LABEL, Existing, Position, Sink, sample_key

log = logging.getLogger(__name__)


class _State(msgspec.Struct):
    """What is stored beside the cursor. `waiting` and `lost` are for the inbox's ledger: see its `Standing`."""

    rows: bytes = b""
    outputs: int = 0
    corrupt: int = 0
    refused: int = 0
    alerts: int = 0
    ranks: bytes = b""
    waiting: dict[str, int] = {}
    lost: dict[str, dict[str, int]] = {}
    media_lost: dict[str, int] = {}
    left_out: dict[str, int] = {}


@dataclass(frozen=True)
class _Checkpoint:
    batch: int
    state: bytes
    position: Position


class Delivery:
    """See the module's head. Not thread-safe; every method that writes raises SinkError as the sink does."""

    def __init__(
        self,
        sink: Sink,
        cursor: int,
        snapshot: bytes,
        blobs: BlobStore,
        *,
        late: Late = "keep",
        rank_policy: str = "main",
        losses: LossWatch | None = None,
        trusts: Callable[[str], bool] = lambda session: True,
    ) -> None:
        """`trusts` tells whether the paths that a session names may be followed."""
        state = msgspec.msgpack.decode(snapshot, type=_State) if snapshot else _State()
        self._sink = sink
        self._blobs = blobs
        self._trusts = trusts
        self.rows = RowAssembly.restore(state.rows, late_policy=late)
        self.ranks = Ranks.restore(state.ranks, rank_policy)
        self.cursor = cursor
        self.snapshot = snapshot
        self.taken = cursor
        """The last batch taken."""
        self._awaits = Awaits()
        self._outputs = state.outputs
        self.left_out = dict(state.left_out)
        """Bytes of output that clients left out, by reason."""
        self._alerts = state.alerts
        self._losses = feed.Losses(rows=state.corrupt)
        self._refused = state.refused
        self._lost = state.lost
        """By session and reason: what of `dropped` came in a session's batches."""
        self._media_lost_before = state.media_lost
        self._confirmed_calls = self.rows.finished_calls - state.refused
        self._unconfirmed: deque[int] = deque()
        """The calls in each row that was written here and is not confirmed, oldest first."""
        self._oldest = 0
        """The number of the first of these rows; the others follow it."""
        self._checkpoints: deque[_Checkpoint] = deque()
        self._checkpoint_rows = 0
        self.newest_row: dict[str, Any] = {}
        """The data of the row that was written last."""
        self.samples_shown = self.samples_lost = 0
        """Values of other nodes' machines, until somebody takes the figures."""
        self._there = Existing()
        self._steps_left: deque[int] = deque()
        self._outputs_left = 0
        self._alerts_left = 0
        self._ends: Collection[int] = ()
        self._flushes: Collection[int] = ()
        self._loss_watch = losses or LossWatch()
        self.losses_seen: list[tuple[str, int, float]] = []
        """(metric, step, value) of losses that were found not to be finite, or to be again; for the caller to take."""

    def resume(
        self, starting_step: int, there: Existing, ends: Collection[int] = (), flushes: Collection[int] = ()
    ) -> None:
        """Say where the run began in W&B, what it has already, and after which batches it was ended or flushed."""
        self.rows.start_at(starting_step)
        self._there = there
        self._steps_left = deque(there.steps)
        self._outputs_left = max(0, there.outputs - self._outputs)
        self._alerts_left = max(0, there.alerts - self._alerts)
        self._ends = ends
        self._flushes = flushes

    @property
    def replaying(self) -> bool:
        """Whether something is still ahead that the run has already."""
        return bool(self._steps_left) or self._outputs_left > 0 or self._alerts_left > 0 or self._below

    @property
    def _below(self) -> bool:
        return self._there.below is not None and self.rows.next_step < self._there.below

    @property
    def delivered(self) -> int:
        """`log` calls confirmed, since the run began; those of ranks that live on in another's row among them."""
        return self._confirmed_calls + self.ranks.absorbed

    @property
    def dropped(self) -> dict[str, int]:
        """`log` calls lost by reason, since the run began."""
        counts = {"late": self.rows.dropped_late, "corrupt": self._losses.rows, "refused": self._refused}
        return {reason: count for reason, count in counts.items() if count}

    @property
    def media_lost(self) -> dict[str, int]:
        """Media values lost by reason, since the run began; their rows are delivered without them."""
        lost = dict(self._media_lost_before)
        add_losses(lost, self._sink.media_lost())
        if self._awaits.unfinished:
            add_losses(lost, {"unfinished": self._awaits.unfinished})
        return lost

    @property
    def unconfirmed_rows(self) -> int:
        """Rows written and not confirmed yet."""
        return len(self._unconfirmed)

    @property
    def full(self) -> bool:
        """Whether so much is under way that nothing more is to be taken now."""
        return self._sink.unread_rows() >= UNREAD_MAX_ROWS or len(self._unconfirmed) >= UNCONFIRMED_MAX_ROWS

    @property
    def settled(self) -> bool:
        """Whether everything taken is confirmed, so that the cursor stands at the last batch taken."""
        return self.cursor == self.taken and not self._unconfirmed

    def take(self, batch: StoredBatch) -> None:
        """Write what a batch says."""
        session, awaits = batch.session, self._awaits
        before = self.dropped
        for record, body in feed.decoded(batch, self._losses):
            if isinstance(record, Blob):
                self._blobs.add(record)  # whatever its row waits for
                continue
            if not awaits.holding and type(record) is not Await:
                self._work(session, record, body)
                continue
            if type(record) is Row and not (self.ranks.active or self.rows.knows(session)):
                self._work_all(awaits.give_up_all(session))  # a new session's rows come behind those of the others
            self._work_all(awaits.take(session, record, body))
        self.taken = batch.number
        if (now := self.dropped) != before:
            lost = self._lost.setdefault(batch.session, {})
            for reason, count in now.items():
                lost[reason] = lost.get(reason, 0) + count - before.get(reason, 0)
        if batch.number in self._flushes:
            self.flush()
        if batch.number in self._ends:
            self.end()
        elif self._checkpoint_rows >= CHECKPOINT_ROWS:
            self.checkpoint()

    def _work_all(self, records: Iterable[Taken]) -> None:
        for taken in records:
            self._work(*taken)

    def _work(self, session: str, record: AnyRecord, body: bytes | memoryview) -> None:
        ranks = self.ranks
        if type(record) is Row:
            if ranks.active:
                self._call(ranks.row(session, record, body))
                self._tell_ranks(record.time_ns)
                return
            ranks.plain = session
            for row in self.rows.add(session, record, body):
                self._write(row)
        elif isinstance(record, Output):
            self._output(record)
        elif isinstance(record, Alert):
            self._alert(record)
        elif isinstance(record, Sample):
            self._sample(record)
        elif isinstance(record, End | Gone):
            self._call(ranks.end(session))
            for row in self.rows.end_session(session):
                self._write(row)
        elif isinstance(record, Rank):
            self._call(ranks.join(session, record))
        elif isinstance(record, Clock):
            ranks.clock(session, record)
        elif not self.replaying and not (ranks.active and ranks.is_other(session)):
            self._tell(session, record)

    def _tell(self, session: str, record: AnyRecord) -> None:
        """What W&B keeps one of: telling it again harms nothing."""
        if isinstance(record, Config):
            self._sink.config(record)
        elif isinstance(record, Summary):
            self._sink.summary(record)
            self._blobs.used(blob_refs([value for _, value in record.update]), self._sink.written().rows)
        elif isinstance(record, Metric):
            self._sink.metric(record)
        elif isinstance(record, Attributes):
            self._sink.attributes(record)
        elif isinstance(record, Preempting):
            self._sink.preempting()
        elif isinstance(record, Pins):
            self._sink.pins(record)
        elif isinstance(record, Saved):
            if record.place and not self._trusts(session):
                record.place = []
            self._sink.saved(record)
            self._blobs.used(blob_refs(record.content), self._sink.written().rows)
        elif isinstance(record, Process):
            self._sink.process(record)

    def end(self) -> None:
        """The run ends after the last batch taken: write what was open or held."""
        self._work_all(self._awaits.end())
        self._call(self.ranks.finish())
        for row in self.rows.finish():
            self._write(row)
        self.checkpoint()

    def rewind(self, step: int) -> None:
        """W&B has the run without what it logged from `step` on; to be called where the run was ended (`end`)."""
        self.rows.rewind(step, JOINED)
        self.ranks.rewind(step)

    def flush(self) -> None:
        """Rows have waited for other ranks too long by the clock: write them after the last batch taken."""
        self._call(self.ranks.flush())
        self.checkpoint()

    def _call(self, calls: Iterable[Call]) -> None:
        for call in calls:
            for row in self.rows.add(*call):
                self._write(row)

    def _tell_ranks(self, now_ns: int) -> None:
        if self.ranks.summary_due(now_ns) and not self.replaying:
            self._sink.summary(rank_summary(self.ranks))

    def checkpoint(self) -> None:
        """Note the boundary after the last batch taken as one to move the cursor to."""
        if self._awaits.holding:
            return
        self._blobs.spill()  # before the state counts: rows that it leaves open or held find their bytes in files
        counts = (self._outputs, self._losses.rows, self._refused, self._alerts)
        told = (self._waiting(), self._lost, self.media_lost, self.left_out)
        state = _State(self.rows.snapshot(), *counts, self.ranks.snapshot(), *told)
        encoded = msgspec.msgpack.encode(state)
        last = self._checkpoints[-1] if self._checkpoints else None
        if (last.batch, last.state) == (self.taken, encoded) if last else encoded == self.snapshot and self.settled:
            return
        if len(self._checkpoints) >= CHECKPOINTS_MAX:
            self._checkpoints.pop()
        self._checkpoints.append(_Checkpoint(self.taken, encoded, self._sink.written()))
        self._checkpoint_rows = 0

    def _waiting(self) -> dict[str, int]:
        waiting = self.rows.waiting_of_sessions()
        for session, calls in self.ranks.waiting_of_sessions().items():
            waiting[session] = waiting.get(session, 0) + calls
        return waiting

    def confirm(self) -> bool:
        """Look at what the sink has confirmed; True when anything moved."""
        self._sink.look()
        before = self._confirmed_calls, self.cursor, self.snapshot
        rows = self._sink.confirmed_rows()
        while self._unconfirmed and self._oldest < rows:
            self._confirmed_calls += self._unconfirmed.popleft()
            self._oldest += 1
        self._blobs.confirmed(rows)
        while self._checkpoints and self._sink.is_confirmed(self._checkpoints[0].position):
            checkpoint = self._checkpoints.popleft()
            self.cursor, self.snapshot = checkpoint.batch, checkpoint.state
        return before != (self._confirmed_calls, self.cursor, self.snapshot)

    def finished(self) -> None:
        """The run is finished in wandb: nothing is needed any more."""
        self._blobs.clear()

    def _write(self, row: FinishedRow) -> None:
        self._checkpoint_rows += 1
        self.newest_row = row.data
        refs = blob_refs(row.data) if is_rich(row.data) else []
        if self._is_there(row.step):
            self._confirmed_calls += row.calls
            self._blobs.drop(refs)
            return
        number = self._sink.written().rows
        try:
            self._sink.row(row)
        except RowRefusedError as error:
            self._refused += row.calls
            self._blobs.drop(refs)
            log.error("row_refused step=%d calls=%d reason=%r", row.step, row.calls, str(error))
            return
        self.losses_seen += [(name, row.step, value) for name, value in self._loss_watch.look(row.data)]
        self._blobs.used(refs, number)
        if not self._unconfirmed:
            self._oldest = number
        self._unconfirmed.append(row.calls)
        self._steps_left.clear()
        self._outputs_left = self._alerts_left = 0

    def _is_there(self, step: int) -> bool:
        while self._steps_left and self._steps_left[0] < step:
            log.error("row_unexpected step=%d", self._steps_left.popleft())
        if self._steps_left and self._steps_left[0] == step:
            self._steps_left.popleft()
            return True
        return self._there.below is not None and step < self._there.below

    def _sample(self, record: Sample) -> None:
        """Of another node's machine: into the System panel with its own time, once."""
        if not record.values or sample_key(record.time_ns, record.values) in self._there.samples:
            return
        values = dict(record.values)
        if record.offset_ns is not None:
            label = next(iter(values), "").partition(LABEL)[2]
            values[CLOCK_OFFSET_KEY + (LABEL + label if label else "")] = record.offset_ns / 1e9
        if self._sink.samples(record.time_ns, values):
            self.samples_shown += len(record.values)
        else:
            self.samples_lost += len(record.values)

    def _output(self, record: Output) -> None:
        self._outputs += 1
        for reason, size in record.left_out.items():
            self.left_out[reason] = self.left_out.get(reason, 0) + size
        if self._outputs_left:
            self._outputs_left -= 1
        else:
            self._sink.output(record)

    def _alert(self, record: Alert) -> None:
        self._alerts += 1
        if self._alerts_left:
            self._alerts_left -= 1
        else:
            self._sink.alert(record)
