"""What /metrics is made of, and the pages that are told from memory."""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.protocol import records
from client.protocol.framing import HEADER, checksum
from telemetryd.errors import PlaceError
from telemetryd.health.counters import Counters
from telemetryd.health.deliveries import Deliveries
from telemetryd.health.events import Event, Events
from telemetryd.health.pulse import Pulse
from telemetryd.health.status import Health, State
from telemetryd.inbox import database, lag
from telemetryd.inbox.home import Home
from telemetryd.inbox.store import Inbox
from telemetryd.reception.questions import Questions
from telemetryd.runs.limits import SAMPLES_SHOWN_FOR_S
from telemetryd.runs.newest import newest_values
from telemetryd.runs.samples_endpoint import SamplesEndpoint
from telemetryd.sampling import view
from telemetryd.sampling.catalogue import METRICS
from telemetryd.sampling.machine import Machine
from telemetryd.sampling.messages import Device, Devices, Reading
from telemetryd.settings.families import FAMILIES
from telemetryd.web import families
from telemetryd.web.exporter import Exporter, Sources, spool_use
from telemetryd.web.limits import LOOP_STUCK_S
from telemetryd.web.server import HttpPort
from tests.support.scrape import get, scrape


class Rig:
    """A port on a board of its own, with a clock that tests move."""

    def __init__(self, folder: Path) -> None:
        self.now_s = 100.0
        self.health, self.counters, self.events = Health(), Counters(), Events()
        self.pulse, self.machine = Pulse(lambda: self.now_s), Machine()
        self.path = folder / "inbox.sqlite3"
        database.prepare(self.path)
        self.exporter = Exporter(
            Sources(
                Home(self.path), self.questions, {"version": "9", "protocol": "1.2", "started_ns": 5 * 10**9},
                self.health, self.counters, self.events, self.pulse, self.machine, dict.fromkeys(FAMILIES, 10.0),
                "n1", list, folder / "spool", 1000,
            )
        )  # fmt: skip
        self.port = HttpPort("127.0.0.1:0", self.exporter)
        self.port.start()

    def questions(self, inbox: Inbox) -> Questions:
        return Questions(
            inbox.ledger, inbox.progress, inbox.artifacts, self.health, self.counters, Deliveries(), self.events, {},
            lambda: None,
        )  # fmt: skip


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.port.close()


def test_a_page_that_fails_is_counted_and_the_port_goes_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(rig.exporter, "status", broken)
    monkeypatch.delenv("TELEMETRYD_RAISE")
    assert get(rig.port.url + "/status.json")[0] == 500
    assert get(rig.port.url + "/healthz")[0] == 200
    assert rig.counters["http_errors"] == 1


def test_a_defect_is_counted_and_raised_in_the_projects_own_tests() -> None:
    counters = Counters()
    with pytest.raises(ValueError, match="a defect"):
        counters.defect("health_errors", ValueError("a defect"))
    assert counters["health_errors"] == 1


def test_every_exported_name_is_one_familys_and_follows_prometheus_rules() -> None:
    known = families.every()
    assert [name for name, count in Counter(family.name for family in known).items() if count > 1] == []
    for family in known:
        assert re.fullmatch(r"telemetryd_[a-z][a-z0-9_]*", family.name)
        assert family.help
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        assert not re.search(r"_(mb|gb|mhz|ms|minutes|count|sum|bucket|info_total)(_|$)", family.name), family.name
    assert {metric.name for metric in METRICS} == families.MACHINE.keys()


def test_units_are_base_units_in_metrics() -> None:
    by_name = {metric.name: metric for metric in METRICS}
    assert by_name["gpu_sm_clock_mhz"].prometheus == "telemetryd_gpu_sm_clock_hertz"
    assert by_name["gpu_sm_clock_mhz"].prometheus_scale == 1e6
    assert by_name["disk_read_mb"].prometheus == "telemetryd_disk_read_bytes_total"
    assert by_name["gpu_power_watts"].prometheus_scale == 1


def test_liveness_fails_when_a_loop_is_stuck_and_only_then(rig: Rig) -> None:
    rig.pulse.beat("reception")
    rig.pulse.beat("supervision")
    rig.now_s += LOOP_STUCK_S
    assert get(f"{rig.port.url}/healthz")[0] == 200
    rig.now_s += 1
    rig.pulse.beat("supervision")
    code, _, said = get(f"{rig.port.url}/healthz")
    assert (code, said) == (503, f"reception has not come round for {LOOP_STUCK_S + 1:.0f} s\n")


def test_readiness_follows_reception_and_inbox_and_not_wandb(rig: Rig) -> None:
    assert get(f"{rig.port.url}/readyz")[0] == 503
    rig.health.set("reception", State.OK)
    rig.health.set("inbox", State.OK)
    rig.health.set("workers", State.PERMANENT, "W&B refuses the key")
    assert get(f"{rig.port.url}/readyz")[0] == 200
    rig.health.set("reception", State.STOPPING)
    code, _, said = get(f"{rig.port.url}/readyz")
    assert (code, said) == (503, "reception is stopping\n")


def test_metrics_go_on_without_an_inbox_and_say_so(rig: Rig) -> None:
    rig.path.write_bytes(b"no database at all " * 1000)
    for side in ("-wal", "-shm"):
        Path(f"{rig.path}{side}").unlink(missing_ok=True)
    rig.events.add(Event(1, "xid", "fell off", code=79))
    scraped = scrape(rig.port.url)
    assert scraped.value("telemetryd_inbox_readable") == 0
    assert scraped.value("telemetryd_events_total", kind="xid", code="79") == 1
    assert "telemetryd_sessions_open" not in scraped.names()
    assert get(f"{rig.port.url}/status.json")[0] == 503
    assert get(f"{rig.port.url}/healthz")[0] == 200


def test_findings_of_health_rules_are_counted_and_shown_until_they_are_over(rig: Rig) -> None:
    rig.events.raise_("disk", "/a", Event(1, "disk", "full"), lasts=True)
    rig.events.raise_("disk", "/b", Event(1, "disk", "full"), lasts=True)
    rig.events.clear("disk", "/a")
    scraped = scrape(rig.port.url)
    assert scraped.value("telemetryd_health_findings_total", rule="disk") == 2
    assert scraped.value("telemetryd_health_active", rule="disk") == 1
    assert scraped.value("telemetryd_health_active", rule="no_progress") == 0


def test_labels_with_quotes_and_line_ends_come_through(rig: Rig) -> None:
    rig.machine.add(Reading(time.time_ns(), "host", {'disk_free_bytes[/a "b"\\c\nd]': 7.0}, ["disk"]))
    found = scrape(rig.port.url).value("telemetryd_disk_free_bytes", path='/a "b"\\c\nd', run="", node="n1")
    assert found == 7


def test_instances_of_a_card_are_told_from_it(rig: Rig) -> None:
    card, instance = (
        Device("GPU-1", 3, "A100", mig=True),
        Device("MIG-1", 3, parent="GPU-1", gpu_instance=7, compute_instance=0),
    )
    rig.machine.set_devices(Devices([card, instance], "550.1"))
    scraped = scrape(rig.port.url)
    assert scraped.value("telemetryd_gpu_info", uuid="MIG-1", mig="7/0", driver="550.1") == 1
    assert scraped.value("telemetryd_gpu_info", uuid="GPU-1", mig="", model="A100", gpu="3") == 1


def test_what_was_not_renewed_for_three_periods_is_not_shown() -> None:
    machine, now_ns = Machine(), 10**15
    machine.add(Reading(now_ns - 29 * 10**9, "host", {"host_load1": 1.0, "disk_free_bytes[/]": 1.0}, ["cpu", "disk"]))
    machine.add(Reading(now_ns - 31 * 10**9, "host", {"host_memory_total_bytes": 1.0}, ["memory"]))
    periods = dict.fromkeys(FAMILIES, 10.0)
    assert view.fresh(machine, periods, now_ns) == {"host": {"host_load1": 1.0, "disk_free_bytes[/]": 1.0}}
    assert "host_memory_total_bytes" in view.fresh(machine, periods | {"memory": 60.0}, now_ns)["host"]


def test_heads_are_answered_without_a_body_and_nothing_else_than_reading_is(rig: Rig) -> None:
    host, port = rig.port.url.removeprefix("http://").split(":")
    for method, code, has_body in (
        ("HEAD", 200, False),
        ("GET", 200, True),
        ("POST", 501, True),
        ("DELETE", 501, True),
    ):
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        connection.request(method, "/healthz")
        reply = connection.getresponse()
        assert (reply.status, bool(reply.read())) == (code, has_body)
        connection.close()


def test_an_address_that_nobody_has_is_refused_with_advice(rig: Rig) -> None:
    for address in (rig.port.url.removeprefix("http://"), "192.0.2.1:0", "no.such.host.invalid:1"):
        with pytest.raises(PlaceError, match="--http"):
            HttpPort(address, rig.exporter)
    assert rig.port.is_loopback


def test_status_follows_the_runs_under_way_first_and_metrics_all(rig: Rig) -> None:
    inbox = Inbox(rig.path)
    for number in range(1, 61):
        state = "open" if number <= 20 else "finished"
        inbox.database.execute(
            "INSERT INTO runs (key, spec, state, created_ns) VALUES (?, ?, ?, 1)", (f"/p/{number}", b"\x80", state)
        )
    runs = rig.questions(inbox).status()["runs"]
    inbox.close()
    assert len(runs) == 60
    followed = [int(run["key"].rpartition("/")[2]) for run in runs if "lag_s" in run]
    assert followed == [*range(1, 21), *range(49, 61)]
    assert len(list(scrape(rig.port.url).matching("telemetryd_run_lag_seconds"))) == 60


def _record(body: bytes, sequence: int) -> bytes:
    return HEADER.pack(len(body), checksum(body, sequence)) + body


def test_the_lag_is_the_age_of_the_oldest_row() -> None:
    config = _record(records.encode(records.Config({"a": 1})), 1)
    rows = [_record(records.encode(records.Row(step, 1000 + step, {"loss": 1.0})), step) for step in (2, 3)]
    assert lag.first_time_ns(config + rows[0] + rows[1]) == 1002
    assert lag.first_time_ns(config) is None
    assert lag.first_time_ns((config + rows[0])[:-3]) is None
    assert lag.first_time_ns(b"") is None


def test_the_newest_row_is_told_by_its_plain_values() -> None:
    data = {
        "_step": 3,
        "loss": 1,
        "bad": float("nan"),
        "on": True,
        "text": "x" * 61,
        "note": "y",
        "table": {},
        "huge": 10**400,
    }
    assert newest_values(data) == {"loss": 1.0, "bad": "nan", "on": "true", "note": "y"}
    assert len(newest_values({f"k{number}": number for number in range(100)})) == 12


def test_samples_for_wandb_to_fetch_are_shown_while_they_are_new_and_idle_connections_hinder_nobody() -> None:
    endpoint = SamplesEndpoint()
    try:
        (url,) = endpoint.settings["x_stats_open_metrics_endpoints"].values()
        host, _, port = url.removeprefix("http://").removesuffix("/metrics").partition(":")
        now_ns = time.time_ns()
        endpoint.show(now_ns, {"gpu.0.temp": 41.5, "9/l:n": 2.0, "bad": float("nan")})
        endpoint.show(now_ns - int((SAMPLES_SHOWN_FOR_S + 1) * 1e9), {"old": 1.0})
        with socket.create_connection((host, int(port))):  # and never says a word
            _, _, text = get(url, timeout_s=4)
        assert text == "# TYPE gpu_0_temp gauge\ngpu_0_temp 41.5\n# TYPE _9_l_n gauge\n_9_l_n 2.0\n"
    finally:
        endpoint.close()


def test_the_spools_size_is_what_its_files_take(tmp_path: Path) -> None:
    assert spool_use(tmp_path / "none") == (0, 0)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "segment").write_bytes(b"x" * 10_000)
    size, journals = spool_use(tmp_path)
    assert journals == 1
    assert 10_000 <= size < 40_000
