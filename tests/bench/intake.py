"""How many rows a second the daemon takes in: prepared batches, sent by processes that speak the wire.

    python -m tests.bench.intake [--quick]

From the first message to the last ack, which leaves after the commit: everything is in the inbox by then, and survives
SIGKILL. W&B does not answer, so the run worker waits and only reception works; in the last scenario the run is offline
and its worker drains what comes at the same time, on the same cores.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.bench import scene
from tests.bench.load import BATCH_BYTES
from tests.bench.results import Column, in_rounds, publish
from tests.support.processes import wait_until

COLUMNS = (
    Column("sent by", "title"),
    Column("rows/s", "rows_per_s", "{:,.0f}"),
    Column("slowest and fastest round", "spread"),
    Column("MB/s", "mb_per_s", "{:.0f}"),
    Column("daemon, µs of CPU a row", "daemon_us", "{:.2f}"),
    Column("senders, µs of CPU a row", "sender_us", "{:.2f}"),
    Column("goal, rows/s", "goal", "{:,}"),
)


@dataclass(frozen=True)
class Scenario:
    """`batch_bytes`: what each message holds."""

    title: str
    sessions: int
    processes: int
    goal: int | None = None
    batch_bytes: int = BATCH_BYTES
    draining: bool = False


SCENARIOS = (
    Scenario("1 client", 1, 1, 500_000),
    Scenario("64 clients", 64, 4, 300_000, 256 << 10),
    Scenario("64 clients, 50 rows a message", 64, 4, None, 50 * 290),
    Scenario("1 client, the run worker beside it", 1, 1, draining=True),
)


def measure(scenario: Scenario, rows: int) -> dict[str, Any]:
    """One round: a fresh daemon, `rows` rows altogether."""
    with scene.world() as world:
        if not scenario.draining:
            world.environment |= scene.NOBODY
        world.start_daemon()
        assert world.daemon is not None
        each = rows // scenario.sessions
        mode = "offline" if scenario.draining else "online"
        load = scene.Load(world, scenario.sessions, each, "--batch-bytes", str(scenario.batch_bytes), "--mode", mode,
                          processes=scenario.processes)  # fmt: skip
        try:
            if scenario.draining:
                wait_until(world.core_pids, 60, world.worker_logs)
                wait_until(lambda: list(world.runs_dir.glob("wandb/*run-*/run-*.wandb")), 60, world.worker_logs)
            before_s = scene.cpu_of([world.daemon.pid])
            sent = load.run()
            daemon_s = scene.cpu_of([world.daemon.pid]) - before_s
        finally:
            load.close()
        assert scene.status(world)["counters"]["rows_received"] == each * scenario.sessions
    count = each * scenario.sessions
    return {
        "rows_per_s": count / sent["took_s"],
        "mb_per_s": sent["bytes"] / sent["took_s"] / 1e6,
        "daemon_us": daemon_s / count * 1e6,
        "sender_us": sent["cpu_s"] / count * 1e6,
    }


def run(rows: int, rounds: int, only: str = "") -> list[dict[str, Any]]:
    """Every scenario in turn, `rounds` times; medians."""
    chosen = {one.title: one for one in SCENARIOS if only in one.title}
    figures = in_rounds({title: partial(measure, one, rows) for title, one in chosen.items()}, rounds)
    return [one | {"goal": chosen[one["title"]].goal} for one in figures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the rows, one round")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="scenarios with this in their title")
    given = parser.parse_args()
    rows, rounds = (given.rows // 5, 1) if given.quick else (given.rows, given.rounds)
    figures = run(rows, rounds, given.only)
    said = f"{rows:,} rows of ten floats in each of {rounds} rounds, medians; every row was in the inbox when acked."
    publish("intake", COLUMNS, figures, said)


if __name__ == "__main__":
    main()
