"""How many ranks one daemon takes: simulated ranks that log at a rate, and what daemon and run worker make of them.

    python -m tests.bench.ranks [--ranks 64] [--rows-per-s 100] [--metrics 10] [--seconds 60] [--policy aggregate]
        [--tick-s 0.025]

Each rank is a session with a journal of its own, as in training; some tens of them share a process, whose time is none
of the daemon's, but whose cores are. With hundreds of ranks their senders' turns alone fill two cores: --tick-s lets
them turn less often, as if each had a machine of its own. Prints a row for the table in docs/distributed.md: the
daemon's and the worker's share of one core, the rows that were under way (their most, and that over the rate as a
time), and what was lost.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from client.connection import ask
from client.errors import NoAnswerError
from client.limits import TICK_S
from tests.support.processes import running, wait_until

SESSIONS_PER_PROCESS = 32
SETTLE_DEADLINE_S = 300.0


@dataclass
class Outcome:
    """What a load came to. CPU is a share of one core; `behind_s` is `pending_max` over the rate."""

    ranks: int
    rows_per_s: float
    offered: int
    delivered: int
    dropped: int
    pending_max: int
    behind_s: float
    settled_after_s: float
    daemon_cpu: float
    worker_cpu: float
    sent_for_s: float
    incomplete: int
    load_cpu: float

    def row(self) -> str:
        """A row of the table."""
        return (
            f"| {self.ranks} | {self.rows_per_s:g} | {self.offered:,} | {self.dropped} | {self.pending_max:,} |"
            f" {self.behind_s:.2f} s | {100 * self.daemon_cpu:.0f} % | {100 * self.worker_cpu:.0f} % |"
        )


HEAD = """\
| ranks | rows/s each | rows | dropped | most under way | behind | daemon, of a core | worker, of a core |
|---|---|---|---|---|---|---|---|"""


def simulate(
    first: int, count: int, world: int, rows_per_s: float, seconds: float, metrics: int, policy: str, tick_s: float
) -> None:
    """Some ranks in this process: the load."""
    from client import places, sender
    from client.protocol.messages import Hello, RunSpec
    from client.protocol.records import End, Rank, Row, encode
    from client.session import Session

    sender.TICK_S = tick_s
    sessions = []
    for rank in range(first, first + count):
        run = RunSpec("load", project="load", mode="offline", directory=os.environ["WANDB_DIR"])
        hello = Hello(f"{rank:032x}", run=run, pid=os.getpid(), host=os.uname().nodename, start_time_ns=time.time_ns(),
                      rank=rank, world_size=world)  # fmt: skip
        session = Session.open(hello, endpoint=places.endpoint(), spool_dir=places.spool_dir())
        session.record(Rank(rank, world, hello.start_time_ns, policy=policy))
        sessions.append(session)
    names = [f"train/metric_{number}" for number in range(metrics)]
    wait_until(lambda: all(session.connected for session in sessions), 120, "the sessions' welcome")
    print("connected", flush=True)
    sys.stdin.readline()
    begun_s, cpu_before = time.monotonic(), time.process_time()
    for step in range(int(rows_per_s * seconds)):
        while (left_s := begun_s + step / rows_per_s - time.monotonic()) > 0:
            time.sleep(left_s)
        for index, session in enumerate(sessions):
            values = dict.fromkeys(names, step + 0.001 * (first + index))
            session.append(encode(Row(step, time.time_ns(), values)))
    print(f"sent {time.monotonic() - begun_s:.2f} {time.process_time() - cpu_before:.2f}", flush=True)
    for session in sessions:
        session.record(End(time.time_ns(), 0))
    for session in sessions:
        session.close(60)


def measure(
    folder: Path, ranks: int, rows_per_s: float, seconds: float, metrics: int, policy: str, tick_s: float = TICK_S
) -> Outcome:
    """Run the load against a daemon of its own."""
    environ = os.environ | {
        "TELEMETRYD_ENDPOINT": f"ipc://{folder}/d.sock",
        "TELEMETRYD_STATE_DIR": str(folder / "s"),
        "TELEMETRYD_SPOOL_DIR": str(folder / "spool"),
        "WANDB_DIR": str(folder / "runs"),
        "WANDB_MODE": "offline",
    }
    endpoint = environ["TELEMETRYD_ENDPOINT"]
    (folder / "runs").mkdir(parents=True)
    with running([sys.executable, "-m", "telemetryd", "serve"], folder / "daemon", env=environ) as daemon:
        wait_until(lambda: _status(endpoint), 60, daemon.told)
        loads = []
        for first in range(0, ranks, SESSIONS_PER_PROCESS):
            count = min(SESSIONS_PER_PROCESS, ranks - first)
            numbers = [first, count, ranks, rows_per_s, seconds, metrics]
            command = [sys.executable, "-m", "tests.bench.ranks", "--simulate", *map(str, numbers), policy, str(tick_s)]
            loads.append(
                subprocess.Popen(
                    command,
                    env=environ,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            )
        try:
            return _watch(endpoint, daemon.pid, loads, ranks, rows_per_s)
        finally:
            for load in loads:
                load.kill()
                load.communicate()


def _watch(
    endpoint: str, daemon_pid: int, loads: list[subprocess.Popen[str]], ranks: int, rows_per_s: float
) -> Outcome:
    for load in loads:
        assert load.stdout is not None
        assert load.stdout.readline().strip() == "connected"
    before, worker_before = cpu_s(daemon_pid), _workers_cpu_s(daemon_pid)
    begun_s = time.monotonic()
    for load in loads:
        assert load.stdin is not None
        load.stdin.write("go\n")
        load.stdin.flush()
    pending_max, cpu, worker_cpu, ended_s = 0, before, worker_before, 0.0
    while True:
        status = _status(endpoint) or {}
        pending_max = max(pending_max, status.get("pending", 0))
        runs = status.get("runs", [])
        if worker := _workers_cpu_s(daemon_pid):
            cpu, worker_cpu = cpu_s(daemon_pid), max(worker_cpu, worker)
        if not ended_s and all(load.poll() is not None for load in loads):
            ended_s = time.monotonic()
        if ended_s and runs and all(run["state"] == "finished" for run in runs) and not status["pending"]:
            break
        assert time.monotonic() - begun_s < SETTLE_DEADLINE_S + 600, status
        time.sleep(0.2)
    took_s = ended_s - begun_s
    told = [load.stdout.read().split() for load in loads if load.stdout is not None]
    sent_s = max(float(words[1]) for words in told)
    load_cpu = sum(float(words[2]) for words in told) / sent_s
    return Outcome(
        ranks, rows_per_s, status["offered"], status["delivered"], sum(status["dropped"].values()), pending_max,
        pending_max / (ranks * rows_per_s), time.monotonic() - ended_s, (cpu - before) / took_s,
        (worker_cpu - worker_before) / took_s, sent_s, runs[0].get("ranks", {}).get("incomplete_rows", 0), load_cpu,
    )  # fmt: skip


def _status(endpoint: str) -> dict | None:
    with contextlib.suppress(NoAnswerError):
        return ask(endpoint, "status", {}, 5)
    return None


def cpu_s(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _workers_cpu_s(daemon_pid: int) -> float:
    """CPU time of the run worker and its wandb-core."""
    from tests.support.processes import descendants

    total = 0.0
    for pid in descendants(daemon_pid):
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"worker_main" in command or b"wandb-core" in command or b"wandb_core" in command:
                total += cpu_s(pid)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=64)
    parser.add_argument("--rows-per-s", type=float, default=100.0)
    parser.add_argument("--metrics", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--policy", default="aggregate")
    parser.add_argument("--tick-s", type=float, default=TICK_S)
    parser.add_argument("--simulate", nargs=8, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.simulate is not None:
        first, count, world, rows_per_s, seconds, metrics, policy, tick = given.simulate
        numbers = int(first), int(count), int(world), float(rows_per_s), float(seconds), int(metrics)
        simulate(*numbers, policy, float(tick))
        return
    with tempfile.TemporaryDirectory(prefix="td-", dir="/tmp") as folder:
        outcome = measure(Path(folder), given.ranks, given.rows_per_s, given.seconds, given.metrics, given.policy,
                          given.tick_s)  # fmt: skip
    print(f"policy {given.policy}, {given.metrics} metrics, {os.cpu_count()} cores; delivered {outcome.delivered:,}")
    print(f"sent in {outcome.sent_for_s:.1f} s, settled {outcome.settled_after_s:.1f} s after the end,"
          f" the load took {100 * outcome.load_cpu:.0f} % of a core,"
          f" {outcome.incomplete} rows without some rank")  # fmt: skip
    print(f"{HEAD}\n{outcome.row()}")


if __name__ == "__main__":
    main()
