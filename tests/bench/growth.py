"""The spool while the daemon is away, and the backlog's way to W&B when it is back, at 1,000 rows a second.

    python -m tests.bench.growth [--quick] [--seconds 600]

A training process logs at its rate until the backlog is gone. What counts is what the file system has given the
journal's files; the encoded row is what msgspec makes of it, as `client.log` does. The growth is taken between two
moments of the absence, so that segments made ahead do not count; "all of the spool" is what lies there at the end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.bench import scene
from tests.bench.drain import Meter
from tests.bench.results import Column, publish
from tests.support.processes import wait_until

COLUMNS = (
    Column("the daemon was away for", "title"),
    Column("rows in the spool", "rows", "{:,}"),
    Column("encoded row", "encoded_bytes", "{:.0f} B"),
    Column("growth a row", "growth_bytes", "{:.0f} B"),
    Column("of the encoded row", "growth_ratio", "{:.2f}"),
    Column("all of the spool a row", "spool_ratio", "{:.2f}"),
    Column("goal", "goal_ratio", "{:g}"),
    Column("backlog gone after", "recovered_s", "{:.0f} s"),
    Column("rows/s meanwhile", "rows_per_s", "{:,.0f}"),
)
RATE = 1000

TRAINING = """
import os, sys, time
import client
from tests.bench.load import variants, VARIANTS
data, end = variants(VARIANTS), sys.argv[1]
run = client.init(project="load", id="growth", mode="offline")
begun, number, count = time.monotonic(), 0, os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)
while number % 200 or not os.path.exists(end):
    left = begun + number / 1000 - time.monotonic()
    if left > 0:
        time.sleep(left)
    run.log(data[number % VARIANTS])
    number += 1
    if number % 100 == 0:
        os.pwrite(count, b"%12d" % number, 0)
report = run.finish(quiet=True, timeout_s=300)
assert report.offered == report.delivered == number, report
"""


def on_disk_bytes(folder: Path) -> int:
    """What the file system has given the files of a folder."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def encoded_bytes() -> float:
    """The mean size of a row's body as `client.log` encodes it."""
    import msgspec

    from client.protocol.records import Row
    from tests.bench.load import VARIANTS, variants

    bodies = [msgspec.msgpack.encode(Row(100_000, time.time_ns(), row)) for row in variants(VARIANTS)]
    return sum(map(len, bodies)) / len(bodies)


def measure(away_s: float) -> dict[str, Any]:
    """The absence, and the recovery."""
    with scene.world() as world:
        end, count = world.folder / "end", world.folder / "count"

        def logged() -> int:
            return int(count.read_bytes() or b"0") if count.exists() else 0

        with (world.folder / "training.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", TRAINING, str(end), str(count)],
                env=os.environ | world.environment, cwd=Path(__file__).parents[2], stdout=log, stderr=log,
            )  # fmt: skip
        try:
            found = [0.0, 0.0]
            at = [0, 0]
            for moment, share in enumerate((0.2, 1.0)):
                wait_until(lambda: logged() >= share * away_s * RATE, away_s + 120, "rows", poll_s=0.05)  # noqa: B023
                at[moment], found[moment] = logged(), on_disk_bytes(world.spool_dir)
            world.start_daemon()
            back_s = time.monotonic()
            first = wait_until(lambda: scene.status(world)["delivered"], 120, world.worker_logs, poll_s=0.05)
            begun_s, meter = time.monotonic(), Meter(world, None)
            now: dict[str, Any] = {}

            def caught_up() -> bool:
                nonlocal now
                now = scene.status(world)
                meter.look()
                return logged() - now["delivered"] < 2 * RATE

            wait_until(caught_up, scene.SETTLE_DEADLINE_S, world.worker_logs, poll_s=0.1)
            recovered_s = time.monotonic()
            end.touch()
            assert process.wait(300) == 0, (world.folder / "training.log").read_text()
        finally:
            process.kill()
            process.wait()
    encoded = encoded_bytes()
    growth = (found[1] - found[0]) / (at[1] - at[0])
    return {
        "title": f"{away_s:g} s",
        "rows": at[1],
        "encoded_bytes": encoded,
        "growth_bytes": growth,
        "growth_ratio": growth / encoded,
        "spool_ratio": found[1] / at[1] / encoded,
        "goal_ratio": 1.3,
        "recovered_s": recovered_s - back_s,
        "rows_per_s": (now["delivered"] - first) / (recovered_s - begun_s),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 seconds")
    parser.add_argument("--seconds", type=float, default=120, help="the daemon's absence; full length: 600")
    given = parser.parse_args()
    figures = [measure(20.0 if given.quick else given.seconds)]
    said = "1,000 rows of ten floats a second throughout; the time includes the start of daemon and wandb."
    publish("growth", COLUMNS, figures, said)


if __name__ == "__main__":
    main()
