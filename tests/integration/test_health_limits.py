"""Health rules for what a machine or a container gives to training, with real limits: a control group's memory and its
CPU quota, the host's memory. Each is told after its time and within its stated one, and is over when there is room."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from telemetryd.sampling.cgroup import CgroupReader
from telemetryd.settings.rules import BY_NAME
from tests.support.cgroups import control_group
from tests.support.health import HEALTHY, SLACK_S, Machine, built, driver, machine
from tests.support.processes import Spawned, running, wait_until
from tests.support.requirements import require

__all__ = ["built", "driver", "machine"]
pytestmark = pytest.mark.timeout(180)

FILLER = """
import os, sys, time
import psutil
from telemetryd.sampling.cgroup import CgroupReader
what, wanted, full, end = sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4]
def used():
    if what == "host":
        return psutil.virtual_memory().percent
    return CgroupReader(os.getpid()).read(0.0, whole=False)["container_memory_percent"]
held = []
while not os.path.exists(end):
    if used() < wanted:
        held.append(bytearray(b"x") * (1 << (24 if what == "host" else 19)))
    else:
        if not os.path.exists(full):
            with open(full, "w") as said: said.write(str(time.time_ns()))
        time.sleep(0.05)
"""
"""Takes memory up to a percentage, says when that was, and holds it there; what it takes shows in the real counters."""
SPINS = """
import threading
def spin():
    while not os.path.exists(end): pass
threading.Thread(target=spin, daemon=True).start()
"""


@contextmanager
def filled(folder: Path, what: str, percent: float, prefix: tuple[str, ...] = ()) -> Iterator[int]:
    """Memory in use, that of the host or of the group that `prefix` enters, up to so many percent within the with
    block; since when, in nanoseconds since the epoch."""
    full, end = folder / f"{what}-full", folder / f"{what}-end"
    env = {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [*prefix, sys.executable, "-c", FILLER, what, str(percent), str(full), str(end)]
    with running(command, folder / f"fills-{what}", env=env) as filler:

        def said() -> str:
            assert filler.running(), filler.told()
            return full.read_text() if full.exists() else ""

        since_ns = int(wait_until(said, 60, filler.told))
        yield since_ns
        end.touch()
        assert filler.wait(30) == 0, filler.told()


def assert_in_time(event: dict[str, Any], since_ns: int, lasting_s: float) -> None:
    """Told when it had lasted, and then within the stated time; a reading may be a second older than the fault."""
    took_s = (event["time_ns"] - since_ns) / 1e9
    assert lasting_s - 2 <= took_s <= lasting_s + BY_NAME[event["kind"]].within_s + SLACK_S


def started(machine: Machine, *flags: str, prefix: tuple[str, ...] = (), program: str = HEALTHY) -> Spawned:
    """A daemon with these flags, and a training that delivers."""
    machine.start_daemon(*flags)
    training = machine.train(program, prefix=prefix)
    machine.wait_delivering(90)
    wait_until(lambda: machine.status()["components"]["sampling"]["state"] == "ok", 30, machine.told)
    return training


def test_a_container_at_its_memory_limit_and_held_by_its_quota_is_told_until_it_has_room(machine: Machine) -> None:
    with control_group() as group:
        require(group, "control groups that can be made (root)")
        assert group is not None
        group.limit_memory(192 << 20)
        training = started(machine, "--health", "cpu_throttled=25/8s", prefix=group.enter, program=SPINS + HEALTHY)
        with filled(machine.folder, "container", 96.5, group.enter) as full_ns:
            held_ns = time.time_ns()
            group.limit_cpu(0.1)
            memory = machine.wait_raised("container_memory")
            assert_in_time(memory, full_ns, BY_NAME["container_memory"].lasting_s)
            assert memory["message"].endswith("% of the container's memory limit are in use")
            assert 95 <= int(memory["message"].split()[0]) <= 100
            quota = machine.wait_raised("cpu_throttled")
            assert_in_time(quota, held_ns, 8.0)
            assert quota["message"].startswith("the CPU quota stops the container in ")
            assert {memory["run"], quota["run"]} == {"/p/r1"}
            assert set(machine.active()) == {"container_memory", "cpu_throttled"}
            group.limit_cpu(None)
        for rule in ("container_memory", "cpu_throttled"):
            machine.wait_cleared(rule)
        machine.end()
        assert training.wait(60) == 0, machine.told()
        machine.wait_finished()
    assert machine.raised() == {"container_memory": 1, "cpu_throttled": 1}
    summary = machine.summary()
    assert (summary["container_memory/active"], summary["cpu_throttled/active"]) == (False, False)
    for rule in ("container_memory", "cpu_throttled"):
        (text,) = [text for title, text, _ in machine.alerts() if title == BY_NAME[rule].title]
        assert BY_NAME[rule].advice[1:] in text


def host_thresholds() -> tuple[float, float]:
    """(threshold of `host_memory`, what must be in use to pass it), near to what is in use now: so that the test need
    not fill this machine. A rule's end lies in proportion below its threshold, here a gigabyte above what is in use."""
    rule, now = BY_NAME["host_memory"], psutil.virtual_memory()
    assert isinstance(rule.threshold, float)
    assert rule.clear is not None
    room = 100 * (1 << 30) / now.total
    threshold = (now.percent + room) * rule.threshold / rule.clear
    needed = (threshold + 1 - now.percent) / 100 * now.total
    ours = CgroupReader(os.getpid()).read(0.0, whole=False)
    limit = ours.get("container_memory_limit_bytes", float("inf")) - ours.get("container_memory_working_bytes", 0.0)
    require(min(now.available, limit) > 2 * needed, f"{2 * needed / 2**30:.1f} GiB of memory to spare")
    return threshold, threshold + 1


def test_memory_of_the_host_that_runs_short_is_told_until_there_is_room(machine: Machine) -> None:
    threshold, wanted = host_thresholds()
    training = started(machine, "--health", f"host_memory={threshold:.2f}")
    with filled(machine.folder, "host", wanted) as full_ns:
        event = machine.wait_raised("host_memory")
        assert (event["time_ns"] - full_ns) / 1e9 <= BY_NAME["host_memory"].lasting_s + 5 + SLACK_S
        assert event["message"].endswith("% of the host's memory are in use")
        assert int(event["message"].split()[0]) >= int(threshold)
        assert event["run"] == "/p/r1"
        assert machine.active() == ["host_memory"]
    machine.wait_cleared("host_memory")
    machine.end()
    assert training.wait(60) == 0, machine.told()
    machine.wait_finished()
    assert machine.raised() == {"host_memory": 1}
    assert [title for title, _, _ in machine.alerts()] == [BY_NAME["host_memory"].title]
    assert machine.summary()["host_memory/active"] is False
