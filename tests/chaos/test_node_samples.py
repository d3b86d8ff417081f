"""Samples of a job's nodes in the run's System panel: network namespaces, CURVE, a partition, a killed run worker."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetryd.runs import wandb_file
from tests.chaos.test_nodes import TELEMETRYD, Job
from tests.support.nodes import require_namespaces
from tests.support.processes import Spawned, command_line, descendants, send, wait_until

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(400),
    pytest.mark.leaves_files("daemon and workers end by SIGKILL"),
]
CUT_OFF_S = 12
Times = dict[str, list[int]]


def panel(job: Job, key: str) -> Times:
    """By node's name ("" without a label): the times of all samples of a key in the run's files, in their order."""
    found: Times = {}
    for path in sorted((job.folder / "runs").glob("wandb/*run-*/*.wandb")):
        for record in wandb_file.records(path):
            if record.WhichOneof("record_type") == "stats":
                for item in record.stats.item:
                    name, _, label = item.key.partition("/l:")
                    if name == key:
                        found.setdefault(label, []).append(record.stats.timestamp.ToNanoseconds())
    return found


def start_node(job: Job, number: int) -> Spawned:
    node = job.nodes.nodes[number]
    own = {"TELEMETRYD_STATE_DIR": str(node.folder / "state"), "TELEMETRYD_SAMPLE_PERIOD_S": "1"}
    return node.start([*TELEMETRYD, "node"], job.node_environment(number) | own)


@pytest.fixture
def job(short_path: Path) -> Iterator[Job]:
    require_namespaces()
    made = Job(short_path, 2, rows=3000, rows_per_s=60)
    yield made
    made.close()


def test_both_nodes_samples_are_in_the_panel_once_with_labels_and_their_own_times_whatever_the_network_does(
    job: Job,
) -> None:
    one, other = (node.name for node in job.nodes.nodes)
    agents = [start_node(job, number) for number in range(2)]
    job.start_daemon()
    job.start_trainers()

    def told() -> str:
        assert job.daemon is not None
        return "\n".join([job.daemon.told(), *(agent.told() for agent in agents)])

    wait_until(lambda: panel(job, "memory_percent").keys() >= {one, other}, 60, told, poll_s=0.5)

    job.nodes.nodes[1].cut_off()
    cut_ns = time.time_ns()
    time.sleep(CUT_OFF_S)  # the fault itself lasts this long: nothing is waited for
    back_ns = time.time_ns()
    job.nodes.nodes[1].reconnect()

    def caught_up() -> bool:
        return any(cut_ns + int(1e9) < at < back_ns for at in panel(job, "memory_percent").get(other, []))

    wait_until(caught_up, 60, told, poll_s=0.5)
    assert job.daemon is not None
    workers = [pid for pid in descendants(job.daemon.pid) if "worker_main" in command_line(pid)]
    assert len(workers) == 1
    send(workers[0], signal.SIGKILL)

    for trainer in job.trainers:
        assert trainer.wait(180) == 0, trainer.told()
    status = job.settle()  # although both nodes are still there
    assert all(agent.running() for agent in agents), told()
    assert status["offered"] == status["delivered"] == 2 * job.rows, "samples are no rows"
    assert status["dropped"] == {}

    times = panel(job, "memory_percent")
    assert times.keys() - {one, other} <= {""}, "each node has its label, from its first sample or the second rank on"
    for name in (one, other):
        assert len(times[name]) == len(set(times[name])), f"doubled of {name}"
        assert times[name] == sorted(times[name])
    apart = [at for at in times[other] if cut_ns + 1e9 < at < back_ns - 1e9]
    assert len(apart) >= CUT_OFF_S / 3, "what was sampled without a network is there with its own time"
    assert panel(job, "proc.memory.rssMB").keys() >= {one, other}, "the training's processes are seen on their node"
    assert panel(job, "host.clock.offsetSeconds").keys() >= {one, other}

    for agent in agents:
        assert agent.stop() == 0, agent.told()
        assert "values sampled, 0 dropped" in agent.err()
    for number in range(2):
        spool = job.nodes.nodes[number].folder / "spool"
        assert list(spool.iterdir()) == [], "nothing is left behind"


def test_on_the_daemons_own_machine_a_node_does_nothing(job: Job) -> None:
    job.start_daemon()
    own = {"TELEMETRYD_ENDPOINT": "tcp://127.0.0.1:7077", "TELEMETRYD_STATE_DIR": str(job.state)}
    agent = job.nodes.hub.start([*TELEMETRYD, "node"], job.hub_environment | own)
    wait_until(lambda: "at_home" in agent.err(), 60, agent.told)
    assert agent.stop() == 0
    assert "0 values sampled" in agent.err()
