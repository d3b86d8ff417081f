"""A run worker that delivers into a text file instead of W&B, and misbehaves on request.

Speaks control.py with its supervisor and reads the inbox as the real one does. Each row becomes a line "session number"
in `<state>/delivered-<run>.txt`, appended before Progress is reported: like a .wandb file, it is what was delivered,
and a worker that starts again goes on behind its last line. It is online when it finds a W&B key.

FAKE_WORKER (environment):
    ""        does its work
    "crash"   exits with 3 after each delivery
    "refuse"  reports a permanent trouble and delivers nothing
    "lame"    starts, then neither reads nor reports
    "child"   starts a sleeping child and leaves it behind
    "stop"    reports that W&B's stop button was pressed, twice
    "key"     without a W&B key: waits until the file `<state>/go` is there, then is refused and exits
    "slow"    finishes only when the file `<state>/go` is there
"""

from __future__ import annotations

import argparse
import os
import select
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from client.protocol import framing, records
from telemetryd.runs import control
from telemetryd.settings import api_key


class FakeWorker:
    def __init__(self, inbox: Path, run: int, orders_fd: int, reports_fd: int) -> None:
        self.run, self.orders_fd, self.reports_fd = run, orders_fd, reports_fd
        self.database = sqlite3.connect(f"file:{inbox}?mode=ro", uri=True, timeout=10)
        self.mode = os.environ.get("FAKE_WORKER", "")
        self.unpacker = control.Unpacker()
        self.output = inbox.parent / f"delivered-{run}.txt"
        self.lines = set(self.output.read_text().splitlines()) if self.output.exists() else set()
        (self.cursor,) = self.database.execute("SELECT cursor FROM runs WHERE run_id = ?", (run,)).fetchone()
        self.finish: control.Finish | None = None
        self.stop_s: float | None = None

    def report(self, report: control.Report) -> None:
        data = control.pack(report)
        while data:
            data = data[os.write(self.reports_fd, data) :]

    def serve(self) -> int:
        (self.output.parent / "workers" / f"{self.run}.json").write_text("{}")  # the notes, of which it needs none
        core = subprocess.Popen(["sleep", "600"]) if self.mode == "child" else None
        mode = "online" if api_key.find(api_key.server_url(os.environ), os.environ) else "offline"
        self.report(control.Started(str(self.output.parent), mode, core_pid=core.pid if core else None))
        for _ in range(2 if self.mode == "stop" else 0):
            self.report(control.StopRequested())
        if self.mode == "refuse":
            self.report(control.Trouble("unauthorized", "the key is wrong", permanent=True))
        if self.mode == "key" and mode == "offline":
            while not (self.output.parent / "go").exists():
                if not self.take_orders(0.02):
                    return 0
            self.report(control.Trouble("unauthorized", "there was no key", permanent=True))
            return 78
        if self.mode == "lame":
            time.sleep(600)
        while True:
            if not self.take_orders(0.02):
                return 0  # the supervisor is gone
            delivered = self.mode != "refuse" and self.deliver()
            if delivered and self.mode == "crash":
                return 3
            if self.finish and self.cursor >= self.finish.last and self.mode != "refuse":
                code = self.finish.exit_code
                while self.mode == "slow" and not (self.output.parent / "go").exists():
                    if not self.take_orders(0.02):
                        return 0
                self.report(control.Finished(code))
                return 0
            if self.stop_s is not None and (not delivered or time.monotonic() >= self.stop_s):
                return 0

    def take_orders(self, timeout_s: float) -> bool:
        if select.select([self.orders_fd], [], [], timeout_s)[0]:
            data = os.read(self.orders_fd, 65536)
            if not data:
                return False
            for order in self.unpacker.orders(data):
                if isinstance(order, control.Finish):
                    self.finish = order
                elif isinstance(order, control.Stop):
                    self.stop_s = time.monotonic() + order.within_s
        return True

    def deliver(self) -> bool:
        rows = self.database.execute(
            "SELECT batch, session, first, body FROM batches WHERE run_id = ? AND batch > ? ORDER BY batch LIMIT 8",
            (self.run, self.cursor),
        ).fetchall()
        with self.output.open("a") as output:
            for batch, session, first, body in rows:
                for number, record in framing.bodies(body, first):
                    line = f"{session} {number}"
                    if record is not None and records.is_row(record) and line not in self.lines:
                        self.lines.add(line)
                        output.write(line + "\n")
                self.cursor = batch
        if rows:
            self.report(control.Progress(self.cursor, b"snapshot", len(self.lines)))
        return bool(rows)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--inbox", type=Path)
    parser.add_argument("--run", type=int)
    parser.add_argument("--orders-fd", type=int)
    parser.add_argument("--reports-fd", type=int)
    given, _ = parser.parse_known_args()  # what else a real worker is told is nothing to this one
    return FakeWorker(given.inbox, given.run, given.orders_fd, given.reports_fd).serve()


if __name__ == "__main__":
    sys.exit(main())
