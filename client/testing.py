"""For tests of code that logs: runs that are recorded in memory instead of sent, with the real `init`, `log`, `finish`.

    from client import testing

    def test_training_logs_a_loss():
        with testing.recording() as recorded:
            train()
        assert recorded.run.rows[-1]["loss"] < 0.1
        assert recorded.run.exit_code == 0

Nothing is written to disk, no thread is started, no daemon is needed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from client import api
from client.errors import NoAnswerError
from client.fastlog import Tail
from client.ledger import Ledger
from client.payload import Payload, new_blob_id
from client.policy import Policy
from client.protocol.messages import Hello, Report, RunSpec
from client.protocol.records import (
    AnyRecord,
    Artifact,
    Blob,
    Config,
    End,
    Metric,
    Output,
    Record,
    Row,
    Summary,
    decode,
    encode,
)
from client.sender import Question
from client.stream import Stream
from client.summary import as_read
from client.summary_mirror import Slot, SummaryMirror


class RecordingSession:
    """A session that keeps its records in a list: the interface of `session.Session`, with no daemon at its other end.

    `say(report)` plays the daemon's part: what `report` and `wait_report` see.
    """

    def __init__(self, hello: Hello) -> None:
        self.hello = hello
        self.folder: Path | None = None
        self.bodies: list[bytes] = []
        self.closed = False
        self.append: Callable[..., bool] = self._append
        self.tail: Tail | None = None
        self._rows = 0
        self._dropped: dict[str, int] = {}
        self._report: Report | None = None

    def _append(self, body: bytes, is_row: bool = True) -> bool:
        if self.closed:
            if is_row:
                self._dropped["finished"] = self._dropped.get("finished", 0) + 1
            return False
        self.bodies.append(body)
        self._rows += is_row
        return True

    def record(self, record: Record) -> bool:
        """Append a record that is not a row."""
        return self._append(encode(record), is_row=False)

    def place(self, payload: Payload) -> int:
        """Append the bytes of a media value."""
        blob_id = new_blob_id()
        return blob_id if self._append(encode(Blob(blob_id, bytes(payload))), is_row=False) else 0

    def say(self, report: Report) -> None:
        """Be told what a daemon would have said."""
        self._report = report

    @property
    def records(self) -> list[AnyRecord]:
        """Everything recorded so far, decoded."""
        return [decode(body) for body in self.bodies]

    @property
    def ledger(self) -> Ledger:
        """Every row counts as kept."""
        dropped = dict(self._dropped)
        return Ledger(self._rows + sum(dropped.values()), self._rows, 0, dropped)

    @property
    def report(self) -> Report | None:
        """What `say` was told last."""
        return self._report

    @property
    def connected(self) -> bool:
        """True while the session is open."""
        return not self.closed

    def wait_connected(self, timeout_s: float) -> bool:
        """Returns at once."""
        return self.connected

    def wait_acked(self, timeout_s: float) -> bool:
        """Returns at once: what is recorded is kept."""
        return True

    def wait_report(self, predicate: Callable[[Report], bool], timeout_s: float) -> Report | None:
        """Returns at once."""
        return self._report if self._report is not None and predicate(self._report) else None

    def ask(self, kind: str, args: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Raises NoAnswerError: there is no daemon."""
        raise NoAnswerError(f"a recorded run has no daemon to answer {kind!r}")

    def post(self, kind: str, args: dict[str, Any]) -> Question:
        """Raises NoAnswerError: there is no daemon."""
        raise NoAnswerError(f"a recorded run has no daemon to answer {kind!r}")

    @property
    def stage_root(self) -> Path | None:
        """None: the content of artifacts is not kept; their records are."""
        return None

    def close(self, timeout_s: float) -> bool:
        """Take no more records."""
        self.closed = True
        return True


class RecordedRun:
    """What one run recorded."""

    def __init__(self, session: RecordingSession) -> None:
        self.session = session

    @property
    def spec(self) -> RunSpec:
        """What `init` was called with."""
        assert self.session.hello.run is not None
        return self.session.hello.run

    @property
    def id(self) -> str:
        """The run's id."""
        return self.spec.run_id

    @property
    def records(self) -> list[AnyRecord]:
        """Every record of the stream, in order."""
        return self.session.records

    @property
    def calls(self) -> list[Row]:
        """One Row for each `log` call."""
        return [record for record in self.records if isinstance(record, Row)]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The history: the calls of each step merged, with `_step`, in the order in which the steps came."""
        merged: dict[int, dict[str, Any]] = {}
        for call in self.calls:
            row = merged.setdefault(call.step, {})
            row.update(call.data)
            row["_step"] = call.step
        return list(merged.values())

    @property
    def config(self) -> dict[str, Any]:
        """The config as it ended."""
        config = dict(self.spec.config)
        for record in self.records:
            if isinstance(record, Config):
                config.update(record.update)
                for key in record.remove:
                    config.pop(key, None)
        return config

    @property
    def summary(self) -> dict[str, Any]:
        """The summary as it ended, `_step`, `_timestamp` and `_runtime` left out."""
        mirror = SummaryMirror(self.session.hello.start_time_ns)
        slots: list[Slot] = []
        for body, record in zip(self.session.bodies, self.records, strict=True):
            if isinstance(record, Row):
                slots.append(slot := Slot())
                slot.body = body
                mirror.observe_row(record.data)
            elif isinstance(record, Summary):
                mirror.fold(slots, _next_step(slots))
                for path, value in record.update:
                    mirror.set_by_hand(path, as_read(value))
                for path in record.remove:
                    mirror.remove(path)
            elif isinstance(record, Metric):
                mirror.fold(slots, _next_step(slots))
                mirror.add_rule(record.name, (record.summary or "").split(","), bool(record.overwrite))
        mirror.fold(slots, 1 << 62)
        return {key: value for key, value in mirror.tree.items() if key not in ("_step", "_timestamp", "_runtime")}

    @property
    def metrics(self) -> list[Metric]:
        """The `define_metric` calls."""
        return [record for record in self.records if isinstance(record, Metric)]

    @property
    def artifacts(self) -> list[Artifact]:
        """What was logged, linked and used of artifacts; their files are not kept."""
        return [record for record in self.records if isinstance(record, Artifact)]

    @property
    def output(self) -> str:
        """What was written with `write_logs`."""
        return "".join(record.text for record in self.records if isinstance(record, Output))

    @property
    def exit_code(self) -> int | None:
        """The exit code that the run was finished with; None while it is not."""
        ends = [record for record in self.records if isinstance(record, End)]
        return ends[-1].exit_code if ends else None

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return any(isinstance(record, End) for record in self.records)


def _next_step(slots: list[Slot]) -> int:
    """The first step whose row may still be open: that of the newest call, unless the call closed it."""
    for slot in reversed(slots):
        if slot.body is not None:
            row = decode(slot.body)
            assert isinstance(row, Row)
            return row.step + row.closes
    return 0


class Recording:
    """The runs begun since `recording` was entered."""

    def __init__(self) -> None:
        self.runs: list[RecordedRun] = []

    @property
    def run(self) -> RecordedRun:
        """The only run. Raises AssertionError when there is none or more than one."""
        assert len(self.runs) == 1, f"{len(self.runs)} runs were recorded, not one"
        return self.runs[0]

    def open(self, hello: Hello, policy: Policy) -> Stream:
        """Open the recording session of a new run; it has no caps for a policy to act at."""
        session = RecordingSession(hello)
        self.runs.append(RecordedRun(session))
        return session


@contextlib.contextmanager
def recording() -> Iterator[Recording]:
    """Record every run that `init` begins within the block. Runs still active at its end are finished with code 0."""
    recorded = Recording()
    earlier, api.open_stream = api.open_stream, recorded.open
    try:
        with api.only_new_runs():
            yield recorded
    finally:
        api.open_stream = earlier
