"""Several nodes: network namespaces with real addresses, keys, and everything that a network and its machines do."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from telemetryd.reception import keys
from telemetryd.reception.socket import make_pair
from tests.support.nodes import PORT, Machine, Nodes, require_namespaces
from tests.support.processes import Spawned, wait_until
from tests.support.rank_rows import rows_by_rank
from tests.support.trainer import read_account

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(400),
    pytest.mark.leaves_files("daemon and workers end by SIGKILL"),
]
TRAINER = Path(__file__).parents[1] / "support" / "trainer.py"
TELEMETRYD = (sys.executable, "-m", "telemetryd")
LONGEST_CALL_MS = 1000.0
"""A call that waited for the network would take the 20 s of the partition; a busy machine's may take a while."""


class Job:
    """One rank on each node, one run, one daemon on the hub."""

    def __init__(
        self, folder: Path, count: int, rows: int, rows_per_s: float, *, delay_s: float = 0.0, loss: float = 0.0
    ) -> None:
        self.nodes = Nodes(folder, count, delay_s=delay_s, loss=loss)
        self.folder, self.rows, self.rows_per_s = folder, rows, rows_per_s
        self.state = folder / "state"
        self.daemon: Spawned | None = None
        self.trainers: list[Spawned] = []
        keys.prepare(self.state / "keys", make_pair)
        self.key_files = [keys.add(self.state / "keys", f"node{number}", make_pair) for number in range(1, count + 1)]

    @property
    def hub_environment(self) -> dict[str, str]:
        return {
            "TELEMETRYD_ENDPOINT": f"tcp://0.0.0.0:{PORT}",
            "TELEMETRYD_STATE_DIR": str(self.state),
            "TELEMETRYD_SPOOL_DIR": str(self.folder / "hub-spool"),
            "TELEMETRYD_RUN_DIRS": str(self.folder / "runs"),
        }

    def node_environment(self, number: int) -> dict[str, str]:
        node = self.nodes.nodes[number]
        return {
            "TELEMETRYD_ENDPOINT": f"tcp://{node.address}:{PORT}",
            "TELEMETRYD_SPOOL_DIR": str(node.folder / "spool"),
            "TELEMETRYD_KEY_FILE": str(self.key_files[number]),
            "TELEMETRYD_RANKS": "all",
            "WANDB_DIR": str(self.folder / "runs"),
            "WANDB_MODE": "offline",
            "RANK": str(number),
            "WORLD_SIZE": str(len(self.nodes.nodes)),
        }

    def start_daemon(self) -> None:
        self.daemon = self.nodes.hub.start([*TELEMETRYD, "serve"], self.hub_environment)
        daemon = self.daemon
        wait_until(lambda: "serving endpoint" in daemon.err(), 60, daemon.told)

    def start_trainers(self) -> None:
        for number, node in enumerate(self.nodes.nodes):
            command = [sys.executable, TRAINER, node.folder / "account", str(self.rows), str(self.rows_per_s)]
            command += ["--run-id", "nodes", "--ending", "exit"]
            self.trainers.append(node.start(command, self.node_environment(number)))
        for trainer in self.trainers:
            trainer.wait_out("logging", 60)

    def status(self) -> dict[str, Any]:
        ran = self.nodes.hub.run([*TELEMETRYD, "status", "--json"], self.hub_environment)
        return dict(json.loads(ran.stdout)) if ran.returncode == 0 else {}

    def returned(self, number: int) -> set[int]:
        """The rows whose `log` returned."""
        errors, calls, _ = read_account((self.nodes.nodes[number].folder / "account").read_bytes())
        assert errors == 0
        return {row for row, took_ns in enumerate(calls) if took_ns}

    def longest_call_ms(self) -> float:
        accounts = [read_account((node.folder / "account").read_bytes()) for node in self.nodes.nodes]
        return max(max(calls) for _, calls, _ in accounts) / 1e6

    def wait_logged(self, number: int, rows: int) -> None:
        account = self.nodes.nodes[number].folder / "account"
        wait_until(
            lambda: account.exists() and len(self.returned(number)) >= rows, 120, f"{rows} rows of rank {number}"
        )

    def settle(self) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def settled() -> bool:
            found.clear()
            found.update(self.status())
            return bool(found.get("runs")) and not found["pending"] and found["runs"][0]["state"] == "finished"

        wait_until(settled, 150, lambda: f"{json.dumps(found)[:3000]}", poll_s=0.5)
        return found

    def in_wandb(self) -> dict[int, Counter[int]]:
        """How often each row number of each rank stands in the run's files."""
        return rows_by_rank((self.folder / "runs").glob("wandb/*run-*/*.wandb"), len(self.nodes.nodes))

    def close(self) -> None:
        self.nodes.close()


@pytest.fixture
def made_jobs(short_path: Path) -> Iterator[list[Job]]:
    require_namespaces()
    jobs: list[Job] = []
    yield jobs
    for job in jobs:
        job.close()


def assert_all_there_once(job: Job) -> None:
    for number, counted in job.in_wandb().items():
        returned = job.returned(number)
        assert returned - counted.keys() == set(), f"lost of rank {number}"
        assert [row for row, times in counted.items() if times > 1] == [], f"doubled of rank {number}"


@pytest.mark.parametrize("count", [2, 4])
def test_partition_restart_and_power_cut_lose_nothing_double_nothing_and_training_never_waits(
    made_jobs: list[Job], short_path: Path, count: int
) -> None:
    job = Job(short_path, count, rows=5000, rows_per_s=80)
    made_jobs.append(job)
    job.start_daemon()
    job.start_trainers()
    first: Machine = job.nodes.nodes[-1]
    job.wait_logged(0, 100)

    first.cut_off()
    time.sleep(20)  # the fault itself lasts this long: nothing is waited for
    first.reconnect()
    logged = len(job.returned(count - 1))
    assert logged > 20 * 80 / 2, "training went on while its node was cut off"

    assert job.daemon is not None
    job.daemon.kill()
    job.start_daemon()
    job.wait_logged(0, len(job.returned(0)) + 200)

    first.power_cut()
    assert len(job.returned(count - 1)) < job.rows
    first.reconnect()
    pushed = first.run([*TELEMETRYD, "push"], job.node_environment(count - 1))
    assert pushed.returncode == 0, pushed.stdout + pushed.stderr
    assert "records delivered" in pushed.stdout

    for trainer in job.trainers[:-1]:
        assert trainer.wait(120) == 0, trainer.told()
    status = job.settle()
    assert [len(job.returned(number)) for number in range(count - 1)] == [job.rows] * (count - 1)
    assert_all_there_once(job)
    assert status["dropped"] == {}
    assert status["offered"] == status["delivered"] == sum(len(job.returned(number)) for number in range(count))
    assert job.longest_call_ms() < LONGEST_CALL_MS


@pytest.mark.parametrize("count", [2, 4])
def test_loss_and_delay_on_the_line_lose_and_double_nothing(count: int, made_jobs: list[Job], short_path: Path) -> None:
    job = Job(short_path, count, rows=2000, rows_per_s=100, delay_s=0.1, loss=0.05)
    made_jobs.append(job)
    job.start_daemon()
    job.start_trainers()
    for trainer in job.trainers:
        assert trainer.wait(120) == 0, trainer.told()
    job.settle()
    assert_all_there_once(job)
    assert job.longest_call_ms() < LONGEST_CALL_MS
    assert all(line.lost and line.carried > line.lost for line in job.nodes.lines)
