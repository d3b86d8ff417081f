"""The HTTP port of a real daemon: what Prometheus, probes and people get there, and whom it may not disturb."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.connection import ask
from telemetryd.cli import exit_codes
from telemetryd.web import families
from telemetryd.web.limits import CONNECTIONS_MAX
from tests.fake_nvml.driver import FakeDriver, h100, uuid
from tests.fake_nvml.fixture import built
from tests.integration.test_sampling_run import Machine
from tests.support.daemon import Daemon
from tests.support.processes import wait_until
from tests.support.requirements import require
from tests.support.scrape import OPENMETRICS, Scraped, get, scrape

__all__ = ["built"]
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.leaves_files("a world ends by SIGKILL, amid whatever its worker does"),
]
SECRET = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def machine(built: FakeDriver, short_path: Path) -> Iterator[Machine]:
    driver = FakeDriver(built.folder, short_path / "nvml")
    driver.update(h100(2) | {"1.temperature.0": 61})
    made = Machine(short_path / "w", driver)
    made.environment |= {"TELEMETRYD_SAMPLE_PERIOD_S": "1", "TELEMETRYD_HTTP": "127.0.0.1:0", "WANDB_API_KEY": SECRET}
    made.environment["WANDB_MODE"] = "offline"
    yield made
    made.close()


@pytest.fixture
def url(stopped_daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TELEMETRYD_HTTP", "127.0.0.1:0")
    return str(stopped_daemon.start().status()["daemon"]["http"])


def wait_scrape(url: str, *names: str) -> Scraped:
    """The first scrape that has a series of each of the names."""
    last: list[Scraped] = []

    def there() -> bool:
        last[:] = [scrape(url)]
        return set(names) <= last[0].names()

    wait_until(there, 60, lambda: f"{names} in\n{last[0].text if last else ''}", poll_s=0.5)
    return last[0]


def test_metrics_have_the_ledger_the_machine_and_telemetryd_itself(machine: Machine) -> None:
    machine.start_daemon()
    url = machine.status()["daemon"]["http"]
    machine.train(settings="{'x_stats_sampling_interval': 1}")
    wait_scrape(url, "telemetryd_gpu_energy_joules_total", "telemetryd_tree_rss_bytes", "telemetryd_run_step")
    machine.driver.xid(1, 79)
    scraped = wait_scrape(url, "telemetryd_events_total")

    # Everything that is there is known, with help, kind and unit, and every counter ends in _total.
    known = {family.name: family for family in families.every()}
    assert scraped.names() <= known.keys()
    for name in scraped.names():
        family = known[name]
        assert scraped.helps[name] == family.help
        assert scraped.kinds[name] == family.kind
        assert name.endswith("_total") == (family.kind == "counter")
    for name, labels in scraped.values:
        assert set(dict(labels)) == set(known[name].labels)

    # The driver's values, by UUID, in base units.
    assert scraped.value("telemetryd_gpu_temperature_celsius", uuid=uuid(1), gpu="1") == 61
    assert scraped.value("telemetryd_gpu_sm_clock_hertz", uuid=uuid(1)) % 1e6 == 0
    assert scraped.value("telemetryd_gpu_info", uuid=uuid(1), gpu="1") == 1
    assert scraped.value("telemetryd_events_total", kind="xid", code="79") == 1
    assert scraped.value("telemetryd_host_memory_total_bytes") > 2**28

    # Own processes: the daemon, its sampler, the worker and its wandb-core.
    for process in ("daemon", "sampler", "worker", "wandb-core"):
        assert scraped.value("telemetryd_self_resident_memory_bytes", process=process) > 2**20
        assert scraped.value("telemetryd_self_cpu_seconds_total", process=process) >= 0
    assert scraped.value("telemetryd_component_state", component="reception", state="ok") == 1

    # OpenMetrics says units, which prometheus_client's strict parser holds against the names.
    strict = scrape(url, OPENMETRICS)
    assert strict.units["telemetryd_gpu_temperature_celsius"] == "celsius"
    assert strict.units["telemetryd_self_cpu_seconds_total"] == "seconds"

    # At rest the ledger is that of `status`, and adds up.
    machine.end()
    status = machine.status()
    (run,) = status["runs"]
    wait_until(lambda: scrape(url).value("telemetryd_run_state", run="/p/r1", state="finished") == 1, 10, "its end")
    ledger = scrape(url)
    of_run = {
        "offered": ledger.value("telemetryd_run_rows_offered_total", run="/p/r1"),
        "delivered": ledger.value("telemetryd_run_rows_delivered_total", run="/p/r1"),
        "pending": ledger.value("telemetryd_run_rows_pending", run="/p/r1"),
    }
    assert of_run == {name: run[name] for name in of_run}
    dropped = sum(ledger.matching("telemetryd_run_rows_dropped_total", run="/p/r1"))
    assert of_run["offered"] == of_run["delivered"] + dropped + of_run["pending"] > 0
    assert ledger.value("telemetryd_run_lag_seconds", run="/p/r1") == 0
    assert ledger.value("telemetryd_rows_received_total") == run["offered"]

    # status.json is what `telemetryd status --json` prints.
    code, kind, body = get(f"{url}/status.json")
    assert (code, kind) == (200, "application/json")
    told = json.loads(body)
    assert told.keys() == status.keys()
    assert told["runs"][0]["key"] == "/p/r1"
    assert told["runs"][0]["newest"]["loss"] == pytest.approx(1.0 / run["offered"])
    for page in ("metrics", "status.json", "healthz", "readyz", ""):
        assert SECRET not in get(f"{url}/{page}")[2]

    promtool = shutil.which("promtool")
    require(promtool, "promtool (Debian: prometheus) checks /metrics")
    done = subprocess.run(
        [str(promtool), "check", "metrics"], input=scraped.text, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_pending_rows_have_a_lag_and_readers_that_hang_or_crowd_hinder_nobody(machine: Machine) -> None:
    machine.environment["TELEMETRYD_SAMPLING"] = "off"
    machine.start_daemon()
    url = machine.status()["daemon"]["http"]
    host, port = url.removeprefix("http://").split(":")
    machine.train()
    wait_scrape(url, "telemetryd_run_step")
    silent = [socket.create_connection((host, int(port))) for _ in range(2 * CONNECTIONS_MAX)]
    try:
        wait_until(lambda: b"503" in silent[-1].recv(100), 20, "a crowd to be turned away")
        asked_s = time.monotonic()
        rows = machine.status()["counters"]["rows_received"]
        wait_until(
            lambda: machine.status()["counters"]["rows_received"] > rows + 50, 30, "rows to come in all the same"
        )
        assert time.monotonic() - asked_s < 15
    finally:
        for connection in silent:
            connection.close()
    machine.signal("worker", signal.SIGSTOP)
    try:
        scraped = wait_scrape(url)
        wait_until(lambda: scrape(url).value("telemetryd_run_lag_seconds", run="/p/r1") >= 2, 30, lambda: scraped.text)
        held = scrape(url)
        assert held.value("telemetryd_run_rows_pending", run="/p/r1") > 0
        assert held.value("telemetryd_inbox_batches", run="/p/r1") > 0
        assert get(f"{url}/healthz")[0] == 200
    finally:
        machine.resume(machine.worker_pids())
    machine.end()


def test_liveness_and_readiness_hold_while_wandb_cannot_be_reached(machine: Machine) -> None:
    del machine.environment["WANDB_MODE"]  # online, at an address where nobody listens
    machine.environment["TELEMETRYD_SAMPLING"] = "off"
    machine.start_daemon("--drain-timeout", "1")
    url = machine.status()["daemon"]["http"]
    machine.train()
    last: list[Scraped] = []

    def retrying() -> bool:
        last[:] = [scrape(url)]
        return list(last[0].matching("telemetryd_run_state", run="/p/r1", state="retrying")) == [1]

    wait_until(retrying, 60, lambda: last[0].text if last else "", poll_s=0.3)
    assert last[0].value("telemetryd_component_state", component="workers", state="recoverable") == 1
    assert [get(f"{url}/{page}")[0] for page in ("healthz", "readyz", "status.json")] == [200, 200, 200]
    machine.trainings[0].kill()
    machine.stop_daemon()


def test_the_port_answers_while_the_daemons_loop_is_stuck_and_tells_for_how_long(machine: Machine) -> None:
    machine.environment["TELEMETRYD_SAMPLING"] = "off"
    machine.start_daemon()
    url = machine.status()["daemon"]["http"]
    log = machine.state_dir / "workers" / "1.log"
    os.mkfifo(log)  # the worker's log: whoever opens it to write waits for a reader
    try:
        machine.train()
        wait_until(
            lambda: scrape(url).value("telemetryd_loop_age_seconds", loop="supervision") >= 4, 60, "a stuck loop"
        )
        assert scrape(url).value("telemetryd_loop_age_seconds", loop="reception") < 3
        before = scrape(url).value("telemetryd_rows_received_total")
        wait_until(
            lambda: scrape(url).value("telemetryd_rows_received_total") > before, 30, "rows to come in meanwhile"
        )
        assert get(f"{url}/healthz")[0] == 200  # for a minute
    finally:
        reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    try:
        wait_until(lambda: scrape(url).value("telemetryd_loop_age_seconds", loop="supervision") < 2, 30, "it to go on")
    finally:
        machine.trainings[0].kill()
        os.close(reader)


def test_a_daemon_without_wandb_or_runs_is_alive_and_ready_until_it_stops(url: str, stopped_daemon: Daemon) -> None:
    assert get(f"{url}/healthz") == (200, "text/plain; charset=utf-8", "ok\n")
    assert get(f"{url}/readyz")[0] == 200
    assert "status.json" in get(f"{url}/")[2]
    code, _, said = get(f"{url}/nonsense")
    assert code == 404
    assert "/metrics" in said
    assert stopped_daemon.stop() == 0
    with pytest.raises(OSError):
        get(f"{url}/healthz")


def test_an_address_that_is_taken_ends_serve_but_not_a_daemon_of_a_launcher(
    stopped_daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("TELEMETRYD_HTTP", f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(AssertionError, match="HTTP cannot be answered"):
            stopped_daemon.start()
        assert stopped_daemon.spawned is not None
        assert stopped_daemon.spawned.wait(10) == exit_codes.PLACE
        stopped_daemon.start(["--exit-when-idle"])
        status = stopped_daemon.status()
        assert "http" not in status["daemon"]
        assert "HTTP cannot be answered" in status["components"]["http"]["reason"]


def test_by_default_it_is_the_machines_port_which_a_second_daemon_does_without(
    stopped_daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEMETRYD_HTTP", "auto")
    taken: socket.socket | None = None
    try:
        taken = socket.create_server(("127.0.0.1", 19319))
    except OSError:
        pass  # somebody has it: that is as good
    try:
        daemon = stopped_daemon.start().status()
        assert "http" not in daemon["daemon"]
        assert daemon["components"]["http"]["state"] == "stopped"
    finally:
        if taken is not None:
            taken.close()


def test_an_address_beyond_this_machine_is_warned_about(
    stopped_daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEMETRYD_HTTP", "0.0.0.0:0")
    stopped_daemon.start()
    assert "http_open_to_the_network" in stopped_daemon.told()
    assert ask(stopped_daemon.endpoint, "ping", {}, 5)["http"].startswith("http://0.0.0.0:")
