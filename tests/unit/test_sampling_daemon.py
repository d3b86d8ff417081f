"""The daemon's side of sampling: the pipe, the watchlist, the process, and who is told of what."""

from __future__ import annotations

import os
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from client.journal.folder import OwnerLock
from client.protocol.messages import Hello, RunSpec
from telemetryd.health import events as health_events
from telemetryd.health.counters import Counters
from telemetryd.health.events import Events
from telemetryd.health.status import Health
from telemetryd.limits import SAMPLER_IDLE_S, SAMPLER_SILENT_MAX_S
from telemetryd.runs import control, wandb_settings
from telemetryd.runs.pipes import Samples
from telemetryd.sampling import messages
from telemetryd.sampling.limits import BACKLOG_MAX_BYTES
from telemetryd.sampling.messages import Beat, Condition, Device, Devices, Event, Reading
from telemetryd.sampling.outbox import Outbox
from telemetryd.supervision import training_process
from telemetryd.supervision.sampling import Sampling
from telemetryd.supervision.watched import Watchlist
from tests.support.processes import wait_until

SESSION = "ab" * 16
CARDS = [Device("GPU-a", 0, pci="1"), Device("GPU-b", 1, pci="2"), Device("GPU-c", 2, pci="3", mig=True),
         Device("MIG-d", 2, pci="3", parent="GPU-c", gpu_instance=1)]  # fmt: skip


def hello(session: str = SESSION, *, environ: dict[str, str] | None = None, settings: dict[str, Any] | None = None,
          **fields: Any) -> Hello:  # fmt: skip
    spec = RunSpec("r", directory="/tmp/runs", metadata={"environ": environ or {}}, settings=settings or {})
    given = {"pid": os.getpid(), "host": socket.gethostname(), "start_time_ns": time.time_ns()} | fields
    return Hello(session, run=spec, **given)


def sessions(*hellos: Hello, run: int = 1) -> list[tuple[int, str, bytes]]:
    return [(run, "e/p/r", msgspec.msgpack.encode(one)) for one in hellos]


# The pipe.


def test_a_full_pipe_costs_readings_and_not_events_and_never_waits() -> None:
    reading_end, writing_end = os.pipe()
    try:
        outbox = Outbox(writing_end)
        reading = Reading(1, "host", {f"m{n}": 1.0 for n in range(1000)}, ["cpu"])
        sent = 2 * (BACKLOG_MAX_BYTES + (64 << 10)) // len(messages.pack(reading))
        for _ in range(sent):
            outbox.send(reading)
            outbox.flush()
        assert outbox.dropped > 0
        outbox.send(Event(1, "xid", "m", code=79))
        unpacker, reports = messages.Unpacker(), []
        os.set_blocking(reading_end, False)
        while len(reports) < sent - outbox.dropped + 1:
            reports += list(unpacker.reports(os.read(reading_end, 1 << 20)))
            outbox.flush()
        assert isinstance(reports[-1], Event)
        assert len(reports) == sent - outbox.dropped + 1
    finally:
        os.close(reading_end)
        os.close(writing_end)


def test_a_broken_pipe_is_noticed_and_nothing_raised() -> None:
    reading_end, writing_end = os.pipe()
    os.close(reading_end)
    try:
        outbox = Outbox(writing_end)
        outbox.send(Beat())
        assert outbox.broken
    finally:
        os.close(writing_end)


def test_samples_that_a_worker_does_not_take_are_bounded_and_counted() -> None:
    waiting = Samples()
    for second in range(1000):
        waiting.put(control.Samples(second, {"a": 1.0, "b": 2.0}))
    taken, dropped = waiting.take()
    assert len(taken) + dropped // 2 == 1000
    assert taken[-1].time_ns == 999
    assert waiting.take() == ([], 0)


# Whose process it is.


def test_a_session_is_recognised_by_the_lock_that_its_process_holds(tmp_path: Path) -> None:
    folder = tmp_path / SESSION
    folder.mkdir()
    assert training_process.holds(os.getpid(), SESSION) is False
    lock = OwnerLock.take(folder)
    assert lock is not None
    try:
        assert training_process.holds(os.getpid(), SESSION) is True
        found = training_process.find(hello(host="another-container"))
        assert found is not None
        assert found.pid == os.getpid()
    finally:
        lock.release()
    assert training_process.find(hello(host="another-container")) is None


def test_a_process_that_began_after_its_session_is_another_one() -> None:
    assert training_process.find(hello()) is not None
    assert training_process.find(hello(start_time_ns=1)) is None
    assert training_process.find(hello(pid=0)) is None


# The watchlist.


def test_a_run_is_watched_with_its_processes_ranks_gpus_and_paths() -> None:
    made = Watchlist("auto", local_endpoint=False).make(
        sessions(
            hello("a" * 32, rank=1, local_rank=1, environ={"CUDA_VISIBLE_DEVICES": "9"}),
            hello("b" * 32, rank=0, local_rank=0, environ={"CUDA_VISIBLE_DEVICES": "1,0"},
                  settings={"x_stats_disk_paths": ["/data"], "x_stats_track_process_tree": True}),
        ),
        CARDS,
    )  # fmt: skip
    watched = made[1]
    assert [process.rank for process in watched.target.processes] == [0, 1]
    assert watched.target.visible == "1,0"  # the first rank's
    assert watched.target.paths == ["/tmp/runs", "/data"]
    assert watched.target.tree
    assert watched.panel.ordinals == {"GPU-b": 0, "GPU-a": 1}
    assert (watched.rank_on("GPU-b"), watched.rank_on("GPU-a"), watched.rank_on("GPU-z")) == (0, 1, None)
    assert watched.label is None


def test_a_run_of_another_machine_is_not_watched_unless_it_came_through_the_local_socket() -> None:
    far = sessions(hello(host="far-away", pid=999_999_999))
    assert Watchlist("auto", local_endpoint=False).make(far, CARDS) == {}
    watched = Watchlist("auto", local_endpoint=True).make(far, CARDS)[1]
    assert watched.target.processes == []


@pytest.mark.parametrize(
    ("setting", "environ", "label"),
    [
        ("auto", {}, None),
        ("auto", {"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "8"}, None),
        ("auto", {"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}, socket.gethostname()),
        ("auto", {"SLURM_NNODES": "4", "SLURMD_NODENAME": "n7"}, "n7"),
        ("off", {"SLURM_NNODES": "4", "SLURMD_NODENAME": "n7"}, None),
        ("mine", {}, "mine"),
    ],
)
def test_the_label_of_the_node(setting: str, environ: dict[str, str], label: str | None) -> None:
    made = Watchlist(setting, local_endpoint=False).make(sessions(hello(environ=environ)), CARDS)
    assert made[1].label == label


def test_a_run_with_processes_on_another_host_has_labels_from_then_on() -> None:
    watchlist = Watchlist("auto", local_endpoint=False)
    here, there = hello(rank=0), hello("cd" * 16, host="elsewhere", pid=0, rank=1)
    assert watchlist.make(sessions(here), CARDS)[1].label is None
    assert watchlist.make(sessions(here, there), CARDS)[1].label == socket.gethostname()
    assert watchlist.make(sessions(here), CARDS)[1].label == socket.gethostname(), "the other rank has ended"
    assert watchlist.make(sessions(there), CARDS) == {}
    assert Watchlist("auto", local_endpoint=False).make(sessions(here), CARDS, {1: 2})[1].label == socket.gethostname()


# The process.


class Rig:
    """Sampling with a clock, a command and runs of the test's own."""

    def __init__(self, folder: Path, command: list[str], **settings: Any) -> None:
        given = {
            "endpoint": "ipc:///x", "state_dir": folder, "spool_dir": folder / "spool", "sampling": "runs",
            "sample_period_s": 10.0, "sample_periods": "", "sample_all_gpus": False, "sample_paths": "",
            "node_label": "auto",
        }  # fmt: skip
        self.sessions: list[tuple[int, str, bytes]] = []
        self.taken: list[tuple[int, control.Samples]] = []
        self.takes = True
        self.health, self.counters, self.events = Health(), Counters(), Events()
        self.selector = selectors.DefaultSelector()
        self.sampling = Sampling(
            SimpleNamespace(**(given | settings)),
            SimpleNamespace(training_sessions=lambda: self.sessions, nodes=dict),  # type: ignore[arg-type]
            self, self.health, self.counters, self.events, self.selector, command,
        )  # fmt: skip
        self.now_s = 1000.0

    def give_samples(self, run_id: int, samples: control.Samples) -> bool:
        self.taken += [(run_id, samples)] if self.takes else []
        return self.takes

    def step_of(self, run_id: int) -> int | None:
        return 42

    def look(self, later_s: float = 0.0, *, changed: bool = False) -> None:
        self.now_s += later_s
        self.sampling.look(self.now_s, sessions_changed=changed)

    def report(self, report: messages.Report) -> None:
        self.sampling._take(report)

    def close(self) -> None:
        self.sampling.close()
        self.selector.close()


DUMB = [sys.executable, "-c", "import sys; sys.stdin.close(); import time; time.sleep(600)"]
FAILING = [sys.executable, "-c", "raise SystemExit(9)"]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, DUMB)
    yield rig
    rig.close()


def test_a_sampler_that_says_nothing_is_killed_and_started_again_after_a_pause(rig: Rig) -> None:
    rig.sessions = sessions(hello())
    rig.look(changed=True)
    (first,) = rig.sampling.pids()
    rig.look(SAMPLER_SILENT_MAX_S - 1)
    assert rig.sampling.pids() == [first]
    rig.look(2)
    assert rig.counters["samplers_killed"] == rig.counters["samplers_failed"] == 1
    assert rig.health.as_map()["sampling"]["state"] == "recoverable"
    rig.look(5)
    assert len(set(rig.sampling.pids()) - {first}) == 1
    assert rig.counters["samplers_started"] == 2


def test_a_sampler_that_fails_at_once_is_started_with_growing_pauses(tmp_path: Path) -> None:
    rig = Rig(tmp_path, FAILING)
    try:
        rig.sessions = sessions(hello())
        rig.look(changed=True)
        for _ in range(200):
            wait_until(lambda: rig.sampling._process is None or rig.sampling._process.poll() is not None, 30)
            rig.look(0.5)
        assert 3 <= rig.counters["samplers_started"] <= 9  # in 100 s: 0.5, 1, 2, 4, 8, 16, 32 … and some jitter
        assert "exit code 9" in (rig.health.as_map()["sampling"]["reason"] or "")
    finally:
        rig.close()


def test_the_sampler_leaves_some_time_after_the_last_run(rig: Rig) -> None:
    rig.look(changed=True)
    assert rig.sampling.pids() == []
    rig.sessions = sessions(hello())
    rig.look(changed=True)
    (pid,) = rig.sampling.pids()
    rig.sessions = []
    rig.look(1, changed=True)
    rig.look(SAMPLER_IDLE_S - 2)
    assert rig.sampling._process is not None
    rig.look(3)
    assert rig.sampling._process is None
    assert rig.health.as_map()["sampling"] == {"state": "ok", "reason": "waits for a run"}
    assert pid in rig.sampling.pids()  # until it has ended, nobody else may reap it


# What becomes of readings and events.


def test_readings_go_to_the_runs_concerned_and_what_is_not_taken_is_counted(rig: Rig) -> None:
    rig.sessions = sessions(hello(environ={"CUDA_VISIBLE_DEVICES": "1"}))
    rig.look(changed=True)
    rig.report(Devices(CARDS))
    rig.report(Reading(5, "gpu:GPU-b", {"gpu_temperature_celsius": 40.0}, ["gpu"]))
    rig.report(Reading(6, "gpu:GPU-a", {"gpu_temperature_celsius": 50.0}, ["gpu"]))
    rig.report(Reading(7, "gpu:GPU-b", {"gpu_temperature_celsius": 41.0}))
    assert [(run, samples.time_ns, samples.values) for run, samples in rig.taken] == [(1, 5, {"gpu.0.temp": 40.0})]
    rig.takes = False
    rig.report(Reading(8, "gpu:GPU-b", {"gpu_temperature_celsius": 42.0, "gpu_power_watts": 1.0}, ["gpu"]))
    assert (rig.counters["samples_passed_on"], rig.counters["samples_dropped"]) == (1, 2)
    assert rig.sampling.machine.latest()["gpu:GPU-b"]["gpu_temperature_celsius"] == (42.0, 8)
    assert [reading.time_ns for reading in rig.sampling.machine.ring(scopes=frozenset({"gpu:GPU-b"}))] == [5, 7, 8]
    assert rig.sampling.machine.device("GPU-b") == CARDS[1]


def test_an_event_is_tied_to_run_rank_step_and_gpu_and_told_to_listeners(rig: Rig) -> None:
    heard: list[Event] = []
    rig.sampling.machine.listen(on_event=heard.append)
    rig.sessions = sessions(hello(rank=3, environ={"CUDA_VISIBLE_DEVICES": "1"}))
    rig.look(changed=True)
    rig.report(Devices(CARDS))
    event = Event(9, "xid", "fell off", "GPU-b", 79, "restart", fatal=True)
    rig.report(event)
    assert rig.events.as_list() == [
        {"time_ns": 9, "kind": "xid", "message": "fell off", "advice": "restart", "fatal": True, "code": 79,
         "uuid": "GPU-b", "run": "e/p/r", "rank": 3, "step": 42, "gpu": 0}
    ]  # fmt: skip
    assert heard == [event]
    assert rig.counters["gpu_events"] == 1


def test_an_event_of_a_card_concerns_those_who_use_an_instance_of_it(rig: Rig) -> None:
    rig.sessions = sessions(hello(environ={"CUDA_VISIBLE_DEVICES": "MIG-d"}))
    rig.look(changed=True)
    rig.report(Devices(CARDS))
    rig.report(Event(9, "xid", "m", "GPU-c", 63))
    assert rig.events.all()[0].run == "e/p/r"
    rig.report(Event(10, "xid", "m", "GPU-a", 63))
    assert rig.events.all()[1].run is None


def test_conditions_of_the_sampler_are_the_components_status(rig: Rig) -> None:
    rig.report(Condition("gpu", "no NVIDIA driver: the host is sampled alone", wanting=False))
    assert rig.health.as_map()["sampling"] == {"state": "ok", "reason": "no NVIDIA driver: the host is sampled alone"}
    rig.report(Condition("hung disk", "disk has not returned for 12 s"))
    assert rig.health.as_map()["sampling"]["state"] == "recoverable"
    rig.report(Condition("hung disk"))
    assert rig.health.as_map()["sampling"]["state"] == "ok"
    rig.report(Beat(dropped=5))
    rig.report(Beat(dropped=7))
    assert rig.counters["samples_dropped"] == 7


def test_events_tell_zero_and_leave_out_what_is_not_there() -> None:
    told = health_events.Event(1, "xid", "m", gpu=0, step=0, rank=0).as_map()
    assert told == {"time_ns": 1, "kind": "xid", "message": "m", "gpu": 0, "step": 0, "rank": 0}


def test_wandbs_sampler_goes_on_where_ours_cannot_show_anything() -> None:
    assert "x_stats_sampling_interval" not in wandb_settings.settings_of(RunSpec("r"))
    assert wandb_settings.settings_of(RunSpec("r"), sampled=True)["x_stats_sampling_interval"] >= 1e6
