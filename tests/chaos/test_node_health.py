"""Two nodes and W&B's stand-in: samples of both in the run's events stream, faults of a node's GPUs as the run's own,
through a partition and a killed daemon.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from telemetryd.settings.rules import BY_NAME
from tests.chaos.test_node_samples import start_node
from tests.chaos.test_nodes import TELEMETRYD, TRAINER, Job
from tests.fake_nvml.driver import FakeDriver, h100, uuid
from tests.fake_nvml.fixture import built
from tests.support.nodes import require_namespaces
from tests.support.processes import send, wait_until

__all__ = ["built"]
pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(400),
    pytest.mark.leaves_files("the daemon ends by SIGKILL"),
]
ASK = "import json, sys; from tests.standin.client import Standin; url, control, what = sys.argv[1:4]; "
ASK += "print(json.dumps(getattr(Standin(url, control), what)('nodes')))"
RUN = "/chaos/nodes"


class OnlineJob(Job):
    """A job whose run goes to a stand-in on the hub; the second node has two of a fake driver's cards."""

    def __init__(self, folder: Path, driver: FakeDriver) -> None:
        super().__init__(folder, 2, rows=100_000, rows_per_s=20)
        self.driver = driver
        command = [sys.executable, "-m", "tests.standin", "--port", "0", "--state-dir", folder / "standin"]
        standin = self.nodes.hub.start([*command, "--print-url"], {"PYTHONPATH": str(Path(__file__).parents[2])})
        wait_until(lambda: standin.out().count("\n"), 60, standin.told)
        self.urls = standin.out().split()

    def start_trainers(self) -> None:
        """The second rank takes twice as long as the first."""
        for number, node in enumerate(self.nodes.nodes):
            command = [sys.executable, TRAINER, node.folder / "account", str(self.rows), str(20 // (number + 1))]
            command += ["--run-id", "nodes", "--ending", "exit"]
            self.trainers.append(node.start(command, self.node_environment(number)))
        for trainer in self.trainers:
            trainer.wait_out("logging", 60)

    @property
    def hub_environment(self) -> dict[str, str]:
        server = {"WANDB_BASE_URL": self.urls[0], "WANDB_API_KEY": "0123456789" * 4}
        return {**super().hub_environment, **server, "PYTHONPATH": str(Path(__file__).parents[2])}

    def node_environment(self, number: int) -> dict[str, str]:
        environment = super().node_environment(number) | {"WANDB_MODE": "online"}
        return environment | (self.driver.environment() if number == 1 else {})

    def there(self, what: str) -> Any:
        """What the stand-in has of the run: "events", "summary", "alerts"."""
        ran = self.nodes.hub.run([sys.executable, "-c", ASK, *self.urls, what], self.hub_environment)
        return json.loads(ran.stdout) if ran.returncode == 0 else None

    def told(self) -> str:
        assert self.daemon is not None
        return f"{json.dumps(self.status())[-6000:]}\n{self.daemon.told()}"

    def happened(self, kind: str, code: int | None = None) -> list[dict[str, Any]]:
        """The events of a kind in `telemetryd status`."""
        events = self.status().get("events", [])
        return [event for event in events if event["kind"] == kind and event.get("code") == code]

    def active(self) -> list[tuple[str, str]]:
        return [(one["rule"], one["subject"]) for one in self.status().get("health", {}).get("active", [])]


@pytest.fixture
def job(short_path: Path, built: FakeDriver) -> Iterator[OnlineJob]:
    require_namespaces()
    driver = FakeDriver(built.folder, short_path / "nvml")
    driver.update(h100(2))
    made = OnlineJob(short_path, driver)
    yield made
    made.close()


def test_samples_and_gpu_faults_of_two_nodes_reach_the_run_at_its_server_once(job: OnlineJob) -> None:
    one, other = (node.name for node in job.nodes.nodes)
    agents = [start_node(job, number) for number in range(2)]
    job.start_daemon()
    job.start_trainers()

    def labelled() -> bool:
        keys = {key for line in job.there("events") or [] for key in line}
        hosts = {f"system.memory_percent/l:{name}" for name in (one, other)}
        return keys >= hosts | {f"system.gpu.{card}.temp/l:{other}" for card in (0, 1)}

    wait_until(labelled, 90, job.told, poll_s=1)

    job.driver.xid(1, 79)
    wait_until(lambda: job.happened("xid", 79), 30, job.told, poll_s=0.3)
    (event,) = job.happened("xid", 79)
    assert (event["node"], event["uuid"], event["gpu"], event["run"]) == (other, uuid(1), 1, RUN)
    assert event["fatal"]
    assert event["advice"]
    assert event["step"] > 0

    job.driver.set("0.throttle_reasons", 1 << 6)
    wait_until(lambda: [one for one in job.happened("straggler") if one.get("node")], 60, job.told, poll_s=0.3)
    (event,) = [one for one in job.happened("straggler") if one.get("node")]
    assert (event["node"], event["rank"], event["run"]) == (other, 1, RUN)
    assert "heat" in event["advice"], "why a rank is slow is told by who sees its machine"

    # Out of reach the node goes on, and tells a daemon that was killed meanwhile.
    job.nodes.nodes[1].cut_off()
    job.driver.xid(0, 31)
    wait_until(lambda: "health_raised rule=xid" in agents[1].err().partition("XID 79")[2], 30, agents[1].told)
    job.driver.set("0.lost", 1)
    wait_until(lambda: "health_raised rule=gpu_lost" in agents[1].err(), 30, agents[1].told)
    assert job.daemon is not None
    send(job.daemon.pid, signal.SIGKILL)
    job.daemon.wait(10)
    job.start_daemon()
    job.nodes.nodes[1].reconnect()
    wait_until(lambda: ("gpu_lost", f"{other} {uuid(0)}") in job.active(), 60, job.told, poll_s=0.3)
    (event,) = job.happened("xid", 31)
    assert (event["node"], event["gpu"]) == (other, 0)
    job.driver.set("0.lost", 0)
    wait_until(lambda: ("gpu_lost", f"{other} {uuid(0)}") not in job.active(), 60, job.told, poll_s=0.3)
    assert {rule for rule, _ in job.active()} == {"xid"}, "XIDs are over when none has come for a while"

    for agent in agents:
        assert agent.stop() == 0, agent.told()
    wait_until(lambda: not job.active(), 30, job.told, poll_s=0.3)
    for number, trainer in enumerate(job.trainers):
        trainer.stop()
        pushed = job.nodes.nodes[number].run([*TELEMETRYD, "push"], job.node_environment(number))
        assert pushed.returncode == 0, pushed.stdout + pushed.stderr
    status = job.settle()
    assert {rule for rule, count in status["health"]["raised"].items() if count} == {"xid", "gpu_lost"}

    health = {key: value for key, value in job.there("summary").items() if key.startswith("_telemetryd/health/")}
    assert health["_telemetryd/health/xid"].startswith("XID 31")
    assert health["_telemetryd/health/xid/node"] == other
    assert health["_telemetryd/health/gpu_lost/active"] is False
    alerts = job.there("alerts")
    texts = [alert["text"] for alert in alerts]
    assert sorted(text.partition(":")[0] for text in texts) == ["The GPU does not answer any more", "XID 31", "XID 79"]
    assert all(f"node {other}" in text for text in texts)
    assert {alert["title"] for alert in alerts} == {BY_NAME["xid"].title, BY_NAME["gpu_lost"].title}

    for key in (f"system.memory_percent/l:{one}", f"system.memory_percent/l:{other}", f"system.gpu.0.temp/l:{other}"):
        times = [line["_timestamp"] for line in job.there("events") if key in line]
        assert len(times) == len(set(times)) >= 3, f"{key} is there once for each of its moments"
    assert not any(f"gpu.0.temp/l:{one}" in key for line in job.there("events") for key in line)
