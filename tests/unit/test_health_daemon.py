"""The daemon's side of health: how processes ended, what is saved, who is told, and why a rank is slow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from client.protocol.messages import Hello, RunSpec
from client.protocol.records import Alert, Output, Saved, Summary
from telemetryd.cli import status_page
from telemetryd.health.counters import Counters
from telemetryd.health.events import Event, Events
from telemetryd.health.exit_cause import Cause, cause_of
from telemetryd.inbox import database
from telemetryd.inbox.home import Home
from telemetryd.inbox.intake import DAEMON
from telemetryd.inbox.progress import Departed, SessionEnd
from telemetryd.inbox.reader import InboxReader
from telemetryd.inbox.store import Inbox
from telemetryd.inbox.tails import Tails
from telemetryd.limits import POST_MORTEM_SAMPLES_BYTES, TAIL_MAX_CHARS
from telemetryd.runs import feed
from telemetryd.sampling.messages import Device, Process, Reading, Target
from telemetryd.sampling.panel import Panel
from telemetryd.settings.rules import BY_NAME
from telemetryd.supervision import leftovers, mounts, post_mortem, slowness
from telemetryd.supervision.exits import Exits, KernelLog
from telemetryd.supervision.graves import is_crash
from telemetryd.supervision.post_mortem import Crash
from telemetryd.supervision.stacks import NOT_ALLOWED, NOT_INSTALLED, Stacks, find_py_spy
from telemetryd.supervision.stalls import held_up
from telemetryd.supervision.teller import Concerned, Teller
from telemetryd.supervision.watched import Watched
from tests.support.processes import state, wait_until
from tests.support.requirements import require

WAITS = "import sys; print('up', flush=True); sys.stdin.read(); "


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    path = tmp_path / "inbox.sqlite3"
    database.prepare(path)
    made = Inbox(path, Home(path))
    yield made
    made.close()


def begin_run(inbox: Inbox, session: str = "ab" * 16) -> int:
    with inbox.transaction():
        greeted = inbox.intake.hello(Hello(session, run=RunSpec("r"), pid=1, start_time_ns=1), time.time_ns())
    assert greeted.run_id is not None
    return greeted.run_id


# How a process ended.


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "segfault"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "signal"),
        ("sys.exit(3)", "error"),
    ],
)
def test_the_end_of_a_process_is_seen_and_its_cause_known_though_it_is_somebody_elses_child(
    end: str, kind: str
) -> None:
    # Its parent is a shell: this process could not wait for it.
    command = ["sh", "-c", '"$@"; true', "sh", sys.executable, "-c", WAITS + end]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdout.readline()
        (pid,) = [int(child) for child in Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text().split()]
        process = leftovers.identify(pid)
        assert process is not None
        exits = Exits()
        try:
            exits.watch("s", process, 0.0)
            assert exits.look(0.0) == []
            assert exits.evidence("s") is None
            shell.stdin.close()
            wait_until(lambda: exits.look(1.0) == ["s"], 20, "the end")
            shell.wait(20)

            def told() -> bool:
                evidence = exits.evidence("s")
                return evidence is not None and evidence.status is not None

            version = tuple(int(part) for part in os.uname().release.split(".")[:2])
            require(version >= (6, 15), "a kernel that tells exit codes of others' children (Linux 6.15)")
            wait_until(told, 20, "the exit code")
            evidence = exits.evidence("s")
            assert evidence is not None
            assert cause_of(evidence).kind == kind
            assert exits.look(2.0) == []
        finally:
            exits.close()


def test_the_kernels_log_is_read_for_the_process_alone(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    path.write_text("")
    kernel_log = KernelLog(str(path))
    path.write_text(
        "6,1,2,-;python[77]: segfault at 0 ip 0 sp 0 error 4\n3,2,3,-;Out of memory: Killed process 7 (x)\n"
    )
    assert kernel_log.about(7) == ()  # a file is one message here
    assert kernel_log.about(77) == ("python[77]: segfault at 0 ip 0 sp 0 error 4",)
    kernel_log.close()
    assert KernelLog(str(tmp_path / "absent")).about(7) == ()


# Stacks.


def run_stacks(stacks: Stacks) -> Stacks:
    wait_until(lambda: stacks.done(time.monotonic()), 30, "py-spy")
    stacks.close()
    return stacks


def test_stacks_say_where_every_thread_is() -> None:
    require(find_py_spy(), "py-spy")
    program = "import time\ndef stands_here():\n print(1, flush=True)\n time.sleep(60)\nstands_here()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        stacks = run_stacks(Stacks([("rank 0", process.pid)], time.monotonic()))
        process.kill()
    assert stacks.taken
    assert stacks.place().startswith("stands_here (")
    assert "--- rank 0" in stacks.text()


def test_what_py_spy_lacks_is_said_clearly(tmp_path: Path) -> None:
    denied = tmp_path / "py-spy"
    denied.write_text("#!/bin/sh\necho 'Permission Denied: Try running again with elevated permissions' >&2; exit 1\n")
    denied.chmod(0o755)
    stacks = run_stacks(Stacks([("rank 0", os.getpid())], time.monotonic(), str(denied)))
    assert (stacks.taken, stacks.missing) == (False, NOT_ALLOWED)
    assert "ptrace" in NOT_ALLOWED
    denied.write_text("#!/bin/sh\nexec sleep 60\n")
    late = Stacks([("rank 0", os.getpid())], -1000.0, str(denied))
    late.done(-999.0)
    wait_until(lambda: late.done(0.0), 20, "its end")
    assert late.missing == "py-spy took too long"
    absent = Stacks([("rank 0", os.getpid())], 0.0, str(tmp_path / "absent"))
    assert absent.done(0.0)
    assert "cannot be started" in absent.missing


def test_a_stopped_process_is_told_with_how_it_goes_on() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert held_up([os.getpid(), process.pid]) == ("", "")
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: state(process.pid) == "T", 10, "a stopped process")
        words, advice = held_up([os.getpid(), process.pid])
        assert words.startswith(f"process {process.pid} is stopped")
        assert f"kill -CONT {process.pid}" in advice
    finally:
        process.kill()
        process.communicate()
    assert held_up([process.pid]) == ("", "")


def test_without_py_spy_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telemetryd.supervision.stacks.find_py_spy", lambda: None)
    stacks = Stacks([("rank 0", os.getpid())], 0.0)
    assert stacks.done(0.0)
    assert (stacks.taken, stacks.text()) == (False, NOT_INSTALLED)


# Who is told.


def test_a_run_is_told_behind_what_is_stored_and_only_while_it_is_open(inbox: Inbox) -> None:
    run_id = begin_run(inbox)
    counters, events, woken = Counters(), Events(), set[int]()
    teller = Teller(inbox, events, counters, lambda run: 41, woken.update, alerts=True, alert_wait_s=60.0)
    rule = BY_NAME["disk"]
    teller.raised(rule, "disk 8:1", Event(10**18, "disk", "99 % of /data are in use"), [Concerned(run_id, "//r", 2)],
                  lasts=True, files={"a/b.txt": b"content"})  # fmt: skip
    assert woken == {run_id}
    with InboxReader(inbox.path) as reader:
        (batch,) = reader.batches(run_id, 0, 10, 1 << 20)
    assert (batch.session, batch.rows) == (DAEMON, 0)
    summary, saved, alert = [record for record, _ in feed.decoded(batch, feed.Losses())]
    assert isinstance(summary, Summary)
    told = {path[0].removeprefix("_telemetryd/health/"): value for path, value in summary.update}
    assert told.pop("disk/time").startswith("2001-09-09")
    assert told == {"disk": "99 % of /data are in use", "disk/count": 1, "disk/active": True, "disk/rank": 2,
                    "disk/step": 41}  # fmt: skip
    assert isinstance(saved, Saved)
    assert (saved.name, bytes(saved.content), saved.policy) == ("a/b.txt", b"content", "now")
    assert isinstance(alert, Alert)
    assert (alert.title, alert.level, alert.wait_ms) == (rule.title, "WARN", 60_000)
    assert "rank 2, step 41" in alert.text
    (event,) = events.all()
    assert (event.run, event.rank, event.step, event.advice) == ("//r", 2, 41, rule.advice)
    assert events.health_map()["active"][0]["rule"] == "disk"
    teller.cleared(rule, "disk 8:1", "room", [Concerned(run_id, "//r")])
    assert events.active() == []
    assert (counters["health_raised"], counters["health_cleared"], counters["health_alerts"]) == (1, 1, 1)
    quiet = Teller(inbox, events, counters, lambda run: 41, woken.update, alerts=False, alert_wait_s=60.0)
    quiet.raised(rule, "disk 8:1", Event(10**18, "disk", "full again"), [Concerned(run_id, "//r")], lasts=False)
    with InboxReader(inbox.path) as reader:
        *_, batch = reader.batches(run_id, 0, 10, 1 << 20)
    assert [type(record) for record, _ in feed.decoded(batch, feed.Losses())] == [Summary]
    assert counters["health_alerts"] == 1
    with inbox.transaction():
        inbox.database.execute("UPDATE runs SET state = 'closing'")
    assert not teller.save(run_id, {"c": b""})
    assert counters["health_untold"] == 1
    assert events.raised()["disk"] == 2


def test_the_last_output_is_remembered_within_its_bound_and_by_the_clock() -> None:
    tails = Tails()
    for number in range(200):
        tails.add("a", [Output("stdout", f"a{number} " * 100, 2 * number)])
        tails.add("b", [Output("stderr", f"b{number} ", 2 * number + 1)])
    text = tails.text(["a", "b", "unknown"])
    assert len(text) <= TAIL_MAX_CHARS
    assert text.endswith("a199 b199 ")
    assert tails.text(["b"]).startswith("b0 b1 ")


# What is left behind.


def test_a_post_mortem_is_bounded_and_keeps_the_newest() -> None:
    values = {f"metric_{number}": float(number) for number in range(40)} | {"loss": float("nan")}
    readings = [Reading(second * 10**9, "host", values) for second in range(3000)]
    crash = Crash("e/p/r", 10**18, Cause("oom", "was killed", signal=signal.SIGKILL), 7, "h", 3, 12,
                  console="x" * 10**6, readings=readings, latest={"host": {"a": (1.0, 2), "b": (float("inf"), 2)}},
                  events=[Event(5, "disk", "full")])  # fmt: skip
    files = post_mortem.files(crash)
    assert post_mortem.folder(crash) == "telemetryd/post-mortem/20010909T014640Z-7-rank3"
    assert set(files) == {"report.json", "samples.jsonl", "console.txt"}
    assert len(files["samples.jsonl"]) <= POST_MORTEM_SAMPLES_BYTES
    assert len(files["console.txt"]) == TAIL_MAX_CHARS
    lines = [json.loads(line) for line in files["samples.jsonl"].splitlines()]
    assert lines[-1]["time"] == "1970-01-01T00:49:59.000Z"
    assert "loss" not in lines[-1]
    report = json.loads(files["report.json"])
    assert (report["cause"], report["signal"], report["step"], report["rank"]) == ("oom", 9, 12, 3)
    assert report["newest_samples"] == {"host": {"a": 1.0}}
    assert report["events"][0]["message"] == "full"


def test_a_paths_file_system_is_told_without_touching_it(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 0:5 / /data\\040set rw - tmpfs t rw\n"
        "23 21 8:2 / /home rw - ext4 x rw\n"
        "24 21 0:9 / /home rw - nfs x rw\n"
    )
    found = {path: mounts.file_system(mountinfo, path) for path in ("/", "/homes", "/home/me", "/data set/x")}
    assert found == {"/": "disk 8:1", "/homes": "disk 8:1", "/home/me": "disk 0:9", "/data set/x": "disk 0:5"}
    assert mounts.file_system(tmp_path / "absent", "/") is None


# Why a rank is slow.


def slow(gpus: dict[str, dict[str, float]], **others: dict[str, float]) -> str:
    devices = [Device("GPU-a", 0, pci="1"), Device("GPU-b", 1, pci="2")]
    target = Target(1, [Process(10, 1, 4, 0), Process(11, 1, 5, 1)])
    watched = Watched(1, "e/p/r", target, None, 0.0, Panel(target, devices))
    usual = {"gpu_utilization_percent": 95.0, "gpu_pcie_width": 16.0, "gpu_pcie_width_max": 16.0,
             "gpu_throttle_reasons": 4.0, "gpu_sm_clock_mhz": 1800.0, "gpu_sm_clock_max_mhz": 1980.0}  # fmt: skip
    scopes = {f"gpu:{name}": usual | gpus.get(name, {}) for name in ("GPU-a", "GPU-b")} | {
        scope.replace("run_1", "run:1"): values for scope, values in others.items()
    }
    latest = {scope: {name: (value, 1) for name, value in values.items()} for scope, values in scopes.items()}
    assert slowness.why(watched, 9, latest) == ""  # a rank of another machine
    return slowness.why(watched, 5, latest)


@pytest.mark.parametrize(
    ("gpus", "others", "words"),
    [
        ({}, {}, ""),
        ({"GPU-a": {"gpu_throttle_reasons": 64.0}}, {}, ""),
        ({"GPU-b": {"gpu_throttle_reasons": 64.0, "gpu_sm_clock_mhz": 700.0}}, {}, "heat (hardware) lowers"),
        ({"GPU-b": {"gpu_sm_clock_mhz": 700.0}}, {}, "power limit (SM clock 700 of 1980 MHz)"),
        ({"GPU-b": {"gpu_pcie_width": 4.0}}, {}, "PCIe link has 4 of 16 lanes"),
        ({}, {"run_1": {"container_cpu_throttled_percent": 30.0}}, "quota stops it in 30 %"),
        ({"GPU-b": {"gpu_utilization_percent": 20.0}}, {"run_1": {"tree_uninterruptible": 2.0}}, "wait for disks"),
        ({"GPU-b": {"gpu_utilization_percent": 20.0}}, {"host": {"host_cpu_percent": 99.0}}, "CPU is full"),
        ({"GPU-b": {"gpu_utilization_percent": 20.0}}, {}, "waits for data or the host"),
    ],
)
def test_a_slow_rank_has_the_cause_that_samples_show(
    gpus: dict[str, dict[str, float]], others: dict[str, dict[str, float]], words: str
) -> None:
    told = slow(gpus, **others)
    assert words in told
    assert bool(told) is bool(words)


def test_an_ended_session_is_among_those_that_are_over(inbox: Inbox) -> None:
    run_id = begin_run(inbox)
    assert inbox.progress.departed() == []
    with inbox.transaction():
        inbox.intake.lose("ab" * 16, 1)
    (departed,) = inbox.progress.departed()
    assert (departed.run_id, departed.key, departed.end.state, departed.launch) == (run_id, "//r", "lost", None)
    assert msgspec.msgpack.decode(departed.hello, type=Hello).pid == 1
    assert inbox.progress.launch_ended(None) == (True, None)
    assert inbox.progress.records_by_run() == {run_id: 0}


@pytest.mark.parametrize(
    ("end", "cause", "crashed"),
    [
        (SessionEnd("lost", None, False), Cause("oom", "", signal=9), True),
        (SessionEnd("lost", None, False), Cause("unknown", ""), True),
        (SessionEnd("lost", None, False), Cause("signal", "", signal=signal.SIGINT), False),
        (SessionEnd("ended", 1, True), Cause("error", "", exit_code=1), True),
        (SessionEnd("ended", 255, True), Cause("error", "", exit_code=255), False),
        (SessionEnd("ended", 0, True), Cause("clean", "", exit_code=0), False),
        (SessionEnd("ended", 1, False), Cause("error", "", exit_code=1), False),
    ],
)
def test_what_somebody_did_on_purpose_is_no_crash(end: SessionEnd, cause: Cause, crashed: bool) -> None:
    assert is_crash(Departed("s", 1, "//r", b"", end, None), cause) is crashed


def test_status_shows_what_is_amiss(capsys: pytest.CaptureFixture[str]) -> None:
    events = Events()
    events.raise_("disk", "disk 8:1", Event(10**18, "disk", "99 % of /data are in use", run="e/p/r"), lasts=True)
    status_page.show({"daemon": {}, "health": events.health_map()})
    shown = capsys.readouterr().out
    assert "amiss now" in shown
    assert "disk 99 % of /data are in use" in shown
    assert "e/p/r" in shown
