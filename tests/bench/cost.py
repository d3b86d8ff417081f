"""How the daemon's cost grows: with keys in a row, with ranks, with the backlog.

    python -m tests.bench.cost [--quick]

Every line is a daemon of its own and an offline run. The backlog of the last table lies in the inbox, and its run
cannot be delivered, while another run is taken in and delivered beside it.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from tests.bench import scene
from tests.bench.drain import timed
from tests.bench.ranks import measure as measure_ranks
from tests.bench.results import Column, publish

KEYS = (1, 10, 100, 1000)
RANKS = (1, 8, 64)
BACKLOGS = (0, 100_000, 1_000_000)

KEYS_COLUMNS = (
    Column("keys a row", "keys", "{:,}"),
    Column("bytes a row", "bytes", "{:,.0f}"),
    Column("taken in, rows/s", "intake_per_s", "{:,.0f}"),
    Column("MB/s", "intake_mb", "{:.0f}"),
    Column("drained, rows/s", "drain_per_s", "{:,.0f}"),
    Column("values/s", "values_per_s", "{:,.0f}"),
    Column("worker, µs of CPU a row", "worker_us", "{:,.1f}"),
    Column("wandb-core", "core_us", "{:,.1f}"),
)
RANKS_COLUMNS = (
    Column("ranks", "ranks", "{}"),
    Column("`log` calls/s", "rate", "{:,.0f}"),
    Column("daemon, µs of CPU a call", "daemon_us", "{:.1f}"),
    Column("worker and wandb-core", "worker_us", "{:.1f}"),
    Column("most under way", "pending_max", "{:,}"),
    Column("dropped", "dropped", "{}"),
)
BACKLOG_COLUMNS = (
    Column("rows in the inbox before", "backlog", "{:,}"),
    Column("taken in, rows/s", "intake_per_s", "{:,.0f}"),
    Column("drained, rows/s", "drain_per_s", "{:,.0f}"),
    Column("`status` answers in", "status_ms", "{:.1f} ms"),
    Column("daemon's memory", "daemon_mib", "{:.0f} MiB"),
    Column("inbox on disk", "inbox_mb", "{:,.0f} MB"),
)


def with_keys(keys: int, values: int) -> dict[str, Any]:
    """`values` values altogether at most, in rows of so many keys."""
    rows = min(100_000, max(200, values // keys))
    with scene.world() as world:
        world.start_daemon()
        load = scene.Load(world, 1, rows, "--floats", str(keys), "--runs")
        try:
            sent = load.run()
        finally:
            load.close()
        drained = timed(world, rows)
    return {
        "keys": keys, "bytes": sent["bytes"] / rows, "intake_per_s": rows / sent["took_s"],
        "intake_mb": sent["bytes"] / sent["took_s"] / 1e6, "drain_per_s": drained["rows_per_s"],
        "values_per_s": drained["rows_per_s"] * keys, "worker_us": drained["worker_us"], "core_us": drained["core_us"],
    }  # fmt: skip


def with_ranks(ranks: int, calls_per_s: float, seconds: float) -> dict[str, Any]:
    """Ranks that together make so many calls a second, joined by step."""
    with scene.world() as world:
        rate = calls_per_s / ranks
        found = measure_ranks(world.folder / "ranks", ranks, rate, seconds, 10, "aggregate")
    calls_each_s = found.offered / found.sent_for_s
    return {
        "ranks": ranks, "rate": calls_each_s, "daemon_us": found.daemon_cpu / calls_each_s * 1e6,
        "worker_us": found.worker_cpu / calls_each_s * 1e6, "pending_max": found.pending_max, "dropped": found.dropped,
    }  # fmt: skip


def with_backlog(backlog: int, rows: int) -> dict[str, Any]:
    """A run beside another one's undeliverable rows."""
    with scene.world() as world:
        world.environment |= scene.NOBODY  # for runs that are online
        world.start_daemon()
        assert world.daemon is not None
        if backlog:
            stuck = scene.Load(world, 1, backlog, "--run", "stuck", "--mode", "online", "--first", "999")
            stuck.run()
            stuck.close()
        load = scene.Load(world, 1, rows, "--runs", "--mode", "offline")
        try:
            sent = load.run()
        finally:
            load.close()
        begun_s = time.monotonic()
        first = 0
        while not first:
            first = _delivered(world)
        from_s = time.monotonic()
        while _delivered(world) < rows:
            time.sleep(0.05)
            assert time.monotonic() - begun_s < 600, world.worker_logs()
        took_s = time.monotonic() - from_s
        asked_s = time.monotonic()
        for _ in range(20):
            scene.status(world)
        answered_s = time.monotonic() - asked_s
        inbox = sum(path.stat().st_size for path in world.state_dir.glob("inbox.sqlite3*"))
        return {
            "backlog": backlog, "intake_per_s": rows / sent["took_s"], "drain_per_s": (rows - first) / took_s,
            "status_ms": answered_s / 20 * 1e3, "daemon_mib": scene.memory(world.daemon.pid), "inbox_mb": inbox / 1e6,
        }  # fmt: skip


def _delivered(world: Any) -> int:
    runs = scene.status(world)["runs"]
    return sum(run["delivered"] for run in runs if run["key"].endswith("load-0"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of it all")
    parser.add_argument("--only", default="keys,ranks,backlog")
    given = parser.parse_args()
    part = 5 if given.quick else 1
    if "keys" in given.only:
        figures = [with_keys(keys, 1_000_000 // part) for keys in KEYS]
        publish(
            "cost_keys",
            KEYS_COLUMNS,
            figures,
            f"A million floats in each line, or 100,000 rows, divided by {part}.",
            module="cost",
        )
    if "ranks" in given.only:
        figures = [with_ranks(ranks, 1000, 30 / part) for ranks in RANKS]
        publish("cost_ranks", RANKS_COLUMNS, figures, "Rows of ten floats, policy `aggregate`.", module="cost")
    if "backlog" in given.only:
        figures = [with_backlog(backlog // part, 100_000 // part) for backlog in BACKLOGS]
        publish("cost_backlog", BACKLOG_COLUMNS, figures, f"{100_000 // part:,} rows of ten floats.", module="cost")


if __name__ == "__main__":
    main()
