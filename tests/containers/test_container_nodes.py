"""Several nodes as containers on a network of their own: one rank on each, one run, the daemon on a hub.

The same faults as in tests/chaos/test_nodes.py, done with a container engine's own means: a node leaves the network and
joins it again, the daemon's container is killed and started, a node's container is killed as by a power cut, and what
its disk (a volume) holds is shipped when it is back.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT
from tests.support.engine import docker, inspect, run
from tests.support.processes import wait_until
from tests.support.rank_rows import rows_by_rank
from tests.support.trainer import read_account

pytestmark = [pytest.mark.containers, pytest.mark.timeout(2400)]
PORT = 7077
ROWS, ROWS_PER_S, CUT_OFF_S = 4000, 80, 20
LONGEST_CALL_MS = 1000.0
"""A call that waited for the network would take the seconds of the partition; a busy machine's may take a while."""


class Node:
    """A container that trains; its spool is a volume, which outlives it."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster, self.number = cluster, number
        self.name = f"{cluster.name}-node{number}"
        self.account = cluster.folder / f"node{number}"
        self.account.mkdir()
        self.account.chmod(0o777)
        self.key_file = cluster.add_key(f"node{number}")

    def options(self) -> list[str]:
        """What its containers are started with."""
        environ = {
            "TELEMETRYD_ENDPOINT": f"tcp://{self.cluster.name}-hub:{PORT}",
            "TELEMETRYD_KEY_FILE": "/run/telemetryd.key",
            "TELEMETRYD_RANKS": "all",
            "WANDB_MODE": "offline",
            "RANK": str(self.number),
            "WORLD_SIZE": str(self.cluster.count),
        }
        given = [part for name, value in environ.items() for part in ("--env", f"{name}={value}")]
        given += [
            "--volume",
            f"{self.name}:/var/spool/telemetryd",
            "--volume",
            f"{self.key_file}:/run/telemetryd.key:ro",
        ]
        return [*given, "--network", self.cluster.name, "--read-only", "--tmpfs", "/tmp"]

    def start(self) -> None:
        script = ROOT / "tests" / "support" / "trainer.py"
        mounts = ["--volume", f"{script}:/job/trainer.py:ro", "--volume", f"{self.account}:/account"]
        command = ["python", "/job/trainer.py", "/account/rows", str(ROWS), str(ROWS_PER_S)]
        command += ["--run-id", "nodes", "--ending", "exit"]
        docker("run", "--detach", "--name", self.name, "--hostname", f"node{self.number}", *self.options(), *mounts,
               "telemetryd-trainer", *command)  # fmt: skip

    def push(self) -> str:
        """Ship what the killed container left in the spool, from a new one with the same volume."""
        return docker("run", "--rm", *self.options(), "telemetryd-trainer", "telemetryd", "push")

    def calls(self) -> tuple[set[int], float]:
        """The rows whose `log` returned, and the longest call in milliseconds."""
        path = self.account / "rows"
        if not path.exists():
            return set(), 0.0
        errors, calls, _ = read_account(path.read_bytes())
        assert errors == 0
        return {row for row, took_ns in enumerate(calls) if took_ns}, max(calls) / 1e6

    def wait_logged(self, rows: int) -> None:
        wait_until(lambda: len(self.calls()[0]) >= rows, 240, lambda: docker("logs", self.name), poll_s=0.2)

    def wait_exit(self) -> int:
        return int(docker("wait", self.name))


class Cluster:
    """The hub, its keys, and the nodes."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self.name = f"td{secrets.token_hex(4)}"
        self.volumes = [f"{self.name}-state", f"{self.name}-spool"]
        docker("network", "create", self.name)
        self._hub_command("keys")
        self.nodes = [Node(self, number) for number in range(count)]
        self.volumes += [node.name for node in self.nodes]

    def _hub_options(self) -> list[str]:
        return [
            *("--env", f"TELEMETRYD_ENDPOINT=tcp://0.0.0.0:{PORT}", "--read-only", "--tmpfs", "/tmp"),
            *(
                "--volume",
                f"{self.name}-state:/var/lib/telemetryd",
                "--volume",
                f"{self.name}-spool:/var/spool/telemetryd",
            ),
        ]

    def _hub_command(self, *command: str) -> str:
        return docker("run", "--rm", "--network", "none", *self._hub_options(), "telemetryd", *command)

    def add_key(self, name: str) -> Path:
        """A node's key file, as an administrator copies it there."""
        self._hub_command("keys", "add", name)
        show = ["--entrypoint", "cat", "telemetryd", f"/var/lib/telemetryd/keys/client-{name}.key"]
        text = docker("run", "--rm", "--network", "none", *self._hub_options(), *show)
        path = self.folder / f"{name}.key"
        path.write_text(text + "\n")
        path.chmod(0o644)  # the container's user reads it, and a mounted file keeps its owner
        return path

    def start_daemon(self) -> None:
        name = f"{self.name}-hub"
        docker("run", "--detach", "--name", name, "--network", self.name, *self._hub_options(), "telemetryd")
        self.wait_serving()

    def wait_serving(self) -> None:
        wait_until(lambda: "serving endpoint" in self.told(), 120, self.told, poll_s=0.2)

    def told(self) -> str:
        ran = run(["docker", "logs", f"{self.name}-hub"], check=False)
        return ran.stdout + ran.stderr

    def settle(self) -> dict[str, object]:
        found: dict[str, object] = {}

        def settled() -> bool:
            ran = run(["docker", "exec", f"{self.name}-hub", "telemetryd", "status", "--json"], check=False)
            found.clear()
            found.update(json.loads(ran.stdout) if ran.returncode == 0 else {})
            runs = found.get("runs")
            return bool(runs) and not found["pending"] and runs[0]["state"] == "finished"  # type: ignore[index]

        wait_until(settled, 300, lambda: f"{json.dumps(found)[:3000]}\n{self.told()[-3000:]}", poll_s=0.5)
        return found

    def in_wandb(self) -> dict[int, Counter[int]]:
        """How often each row number of each rank stands in the run's files."""
        docker("cp", f"{self.name}-hub:/var/lib/telemetryd/runs/wandb", self.folder / "copied")
        return rows_by_rank((self.folder / "copied").glob("*run-*/*.wandb"), self.count)

    def close(self) -> None:
        names = [f"{self.name}-hub", *(f"{self.name}-node{number}" for number in range(self.count))]
        docker("rm", "--force", "--volumes", *names, check=False)
        docker("network", "rm", self.name, check=False)
        docker("volume", "rm", "--force", *self.volumes, check=False)


@pytest.fixture
def cluster(images: None, tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path, 2)
    yield made
    made.close()


def test_partition_killed_daemon_and_power_cut_of_containers_lose_nothing_and_double_nothing(cluster: Cluster) -> None:
    cluster.start_daemon()
    for node in cluster.nodes:
        node.start()
    first, last = cluster.nodes
    for node in cluster.nodes:
        node.wait_logged(100)

    docker("network", "disconnect", cluster.name, last.name)
    time.sleep(CUT_OFF_S)  # the fault itself lasts this long: nothing is waited for
    docker("network", "connect", cluster.name, last.name)
    assert len(last.calls()[0]) > CUT_OFF_S * ROWS_PER_S / 2, "training went on while its node was cut off"

    docker("kill", "--signal", "KILL", f"{cluster.name}-hub")
    assert not inspect(f"{cluster.name}-hub")["State"]["Running"]
    docker("start", f"{cluster.name}-hub")
    cluster.wait_serving()
    first.wait_logged(len(first.calls()[0]) + 200)

    docker("network", "disconnect", cluster.name, last.name)
    docker("kill", "--signal", "KILL", last.name)
    assert 0 < len(last.calls()[0]) < ROWS
    assert "records delivered" in last.push()

    assert first.wait_exit() == 0, docker("logs", first.name)
    status = cluster.settle()
    returned = {node.number: node.calls()[0] for node in cluster.nodes}
    assert len(returned[0]) == ROWS
    for number, counted in cluster.in_wandb().items():
        assert returned[number] - counted.keys() == set(), f"lost of rank {number}"
        assert [row for row, times in counted.items() if times > 1] == [], f"doubled of rank {number}"
    assert status["dropped"] == {}
    assert max(node.calls()[1] for node in cluster.nodes) < LONGEST_CALL_MS
