"""A run in an inbox of its own, and a real worker on it: what the supervisor does, by hand.

rig = RunRig(folder); rig.add_run(spec); rig.append(session, records); worker = rig.start(); worker.finish()
"""

from __future__ import annotations

import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from client.protocol import framing
from client.protocol.messages import Hello, RunSpec
from client.protocol.records import Record, Row
from telemetryd.runs import control, predecessor, wandb_file

SESSION = "5e" * 16
DEADLINE_S = 60.0
R = TypeVar("R")


class RunRig:
    """One state folder with an inbox that has one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir(parents=True)
        self.inbox = self.state / "inbox.sqlite3"
        self.run_id = 0
        self.hello_start_ns = time.time_ns()
        self.facts = False  # whether the sessions say that facts come
        self._next: dict[str, int] = {}
        self._db = sqlite3.connect(self.inbox, isolation_level=None, timeout=10)
        self._db.execute("PRAGMA journal_mode = WAL")
        inbox = resources.files("telemetryd.inbox")
        self._db.executescript(inbox.joinpath("schema.sql").read_text())
        for step in sorted(inbox.joinpath("migrations").iterdir(), key=lambda file: file.name):
            if step.name.endswith(".sql"):
                self._db.executescript(step.read_text())
        self._workers: list[Worker] = []

    def add_run(self, spec: RunSpec) -> int:
        """Store a run whose folder is this rig's unless the spec names one."""
        spec.directory = spec.directory or str(self.folder)
        self.run_id = (
            self._db.execute(
                "INSERT INTO runs (key, spec, state, created_ns) VALUES (?, ?, 'open', ?)",
                (spec.key(), msgspec.msgpack.encode(spec), time.time_ns()),
            ).lastrowid
            or 0
        )
        return self.run_id

    def append(self, records: Iterable[Record | bytes], session: str = SESSION, *, per_batch: int = 500) -> int:
        """Store records as batches; the number of the last one."""
        if session not in self._next:
            self._next[session] = 1
            hello = Hello(session, facts=self.facts, pid=os.getpid(), start_time_ns=self.hello_start_ns)
            self._db.execute(
                "INSERT INTO sessions (session, run_id, role, hello, state, seen_ns)"
                " VALUES (?, ?, 'train', ?, 'open', 0)",
                (session, self.run_id, msgspec.msgpack.encode(hello)),
            )
        bodies = [record if isinstance(record, bytes) else msgspec.msgpack.encode(record) for record in records]
        last = 0
        for start in range(0, len(bodies), per_batch):
            part = bodies[start : start + per_batch]
            first = self._next[session]
            self._next[session] = first + len(part)
            payload = b"".join(framing.frame(body, first + i) for i, body in enumerate(part))
            last = self.append_payload(session, first, len(part), sum(map(_is_row, part)), payload)
        return last

    def append_payload(self, session: str, first: int, count: int, rows: int, payload: bytes) -> int:
        """Store one batch as it is."""
        return (
            self._db.execute(
                "INSERT INTO batches (run_id, session, first, last, rows, body) VALUES (?, ?, ?, ?, ?, ?)",
                (self.run_id, session, first, first + count - 1, rows, payload),
            ).lastrowid
            or 0
        )

    def advance(self, progress: control.Progress) -> None:
        """Store a worker's progress, and delete what is confirmed."""
        self._db.execute(
            "UPDATE runs SET cursor = ?, snapshot = ?, delivered = ?, dropped = ?, late = ? WHERE run_id = ?",
            (
                progress.cursor,
                progress.snapshot,
                progress.delivered,
                msgspec.msgpack.encode(progress.dropped),
                progress.late,
                self.run_id,
            ),
        )
        self._db.execute("DELETE FROM batches WHERE run_id = ? AND batch <= ?", (self.run_id, progress.cursor))

    def start(self, *options: str) -> Worker:
        """A worker process on the run."""
        worker = Worker(self, options)
        self._workers.append(worker)
        return worker

    def files(self) -> list[Path]:
        """The .wandb files of the rig's folder, oldest first."""
        return sorted(self.folder.glob("wandb/*run-*/*.wandb"), key=lambda path: (path.stat().st_ctime_ns, path))

    def rows(self) -> list[tuple[int, dict[str, Any]]]:
        """Rows readable over all files, in the order of the files."""
        return [row for path in self.files() for row in wandb_file.history_rows(path)]

    def close(self) -> None:
        """End what still runs."""
        for worker in self._workers:
            worker.close()
        self._db.close()


def _is_row(body: bytes) -> bool:
    from client.protocol import records

    return records.is_row(body)


class Worker:
    """A worker process, seen from its supervisor."""

    def __init__(self, rig: RunRig, options: Sequence[str]) -> None:
        self.rig = rig
        orders_read, self._orders = os.pipe()
        self._reports, reports_write = os.pipe()
        self.log = rig.folder / f"worker-{len(rig._workers)}.log"
        command = [sys.executable, "-m", "telemetryd.runs.worker_main", "--inbox", str(rig.inbox)]
        command += [
            "--run",
            str(rig.run_id),
            "--orders-fd",
            str(orders_read),
            "--reports-fd",
            str(reports_write),
            *options,
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                pass_fds=(orders_read, reports_write),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=rig.folder,
            )
        os.close(orders_read)
        os.close(reports_write)
        self._unpacker = control.Unpacker()
        self.reports: list[control.Report] = []
        self.store_progress = True
        self._taken = 0

    def order(self, order: control.Order) -> None:
        """Send an order."""
        os.write(self._orders, control.pack(order))

    def wait_for(self, kind: type[R], condition: Callable[[R], bool] = lambda report: True) -> R:
        """The next report of a kind that satisfies a condition; fails with the worker's log after DEADLINE_S."""
        end = time.monotonic() + DEADLINE_S
        while True:
            while self._taken < len(self.reports):
                report = self.reports[self._taken]
                self._taken += 1
                if isinstance(report, kind) and condition(report):
                    return report
            if not self._read(end):
                raise AssertionError(f"no {kind.__name__} came; reports {self.reports[-5:]}\n{self.log.read_text()}")

    def _read(self, end: float) -> bool:
        ready, _, _ = select.select([self._reports], [], [], max(0.0, end - time.monotonic()))
        data = os.read(self._reports, 1 << 16) if ready else b""
        for report in self._unpacker.reports(data):
            self.reports.append(report)
            if isinstance(report, control.Progress) and self.store_progress:
                self.rig.advance(report)
        return bool(data)

    def finish(self, exit_code: int = 0, last: int | None = None) -> control.Progress:
        """Order the run to be finished, wait for that, and give the last progress."""
        self.order(control.Finish(exit_code, 2**62 if last is None else last))
        self.wait_for(control.Finished)
        assert self.wait() == 0, self.log.read_text()
        return self.last_progress()

    def last_progress(self) -> control.Progress:
        """The newest progress report."""
        return [report for report in self.reports if isinstance(report, control.Progress)][-1]

    def wait(self) -> int:
        """The exit code; what was still reported is read."""
        code = self.process.wait(DEADLINE_S)
        while self._read(time.monotonic()):
            pass
        return code

    def kill(self) -> None:
        """SIGKILL the worker and its group, as a killed daemon's machine would; wandb-core is left to itself."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(DEADLINE_S)

    def close_orders(self) -> None:
        """What the worker sees when its supervisor dies."""
        os.close(self._orders)
        self._orders = -1

    def close(self) -> None:
        """End it whatever it does."""
        if self.process.poll() is None:
            self.kill()
        for pid in predecessor.cores_of(self.process.pid):
            predecessor.kill(pid)
        end = time.monotonic() + DEADLINE_S
        while predecessor.cores_of(self.process.pid) and time.monotonic() < end:
            time.sleep(0.02)
        for fd in (self._orders, self._reports):
            if fd >= 0:
                os.close(fd)
        self._orders = self._reports = -1


def rows(count: int, *, start: int = 0, keys: int = 10) -> list[Row]:
    """Automatic rows with distinct values."""
    return [
        Row(step, 1_700_000_000_000_000_000 + step * 1_000_000, {f"m{k}": step + k / 16 for k in range(keys)})
        for step in range(start, start + count)
    ]
