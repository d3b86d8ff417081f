"""Host, process trees and control groups, from the real /proc and from trees that are laid out as kernels do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from telemetryd.sampling import processes
from telemetryd.sampling.cgroup import CgroupReader, device_of
from telemetryd.sampling.host import Cpu, DiskTraffic, Memory, Network, disk_space
from telemetryd.sampling.processes import TreeReader
from tests.support.cgroups import control_group
from tests.support.processes import wait_until
from tests.support.requirements import require

GIB = 1 << 30


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@contextmanager
def python(code: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the code, prints "ready", and waits for its stdin to end."""
    whole = f"{code}\nprint('ready', flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", whole], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


# Process trees.


def test_a_tree_is_the_process_with_all_below_it_and_is_counted_whole() -> None:
    code = (
        "import subprocess, sys, threading, time\n"
        "data = b'x' * (40 << 20)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; data = b\"x\" * (30 << 20); time.sleep(600)'])\n"
        "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        "files = [open('/dev/null') for _ in range(20)]\n"
        "time.sleep(0.3)"
    )
    with python(code) as process:
        reader = TreeReader()
        try:
            wait_until(
                lambda: (
                    reader.read([process.pid], time.monotonic(), whole=True, of_tree=False)["tree_rss_bytes"] > 70 << 20
                ),
                30,
                "the child's memory",
            )
            values = reader.read([process.pid], time.monotonic(), whole=True, of_tree=False)
            assert values["tree_processes"] == 2
            assert values["process_threads"] == 2
            assert values["tree_threads"] == 3
            assert values["tree_open_files"] >= 26
            assert 40 < values["process_rss_mb"] < values["tree_rss_bytes"] / (1 << 20)
            assert 70 << 20 < values["tree_pss_bytes"] <= values["tree_rss_bytes"]
            assert values["tree_uninterruptible"] == values["tree_zombies"] == 0
            assert reader.pids == {process.pid, *(child.pid for child in psutil.Process(process.pid).children())}
            tree = reader.read([process.pid], time.monotonic(), whole=True, of_tree=True)
            assert tree["process_rss_mb"] == tree["tree_rss_bytes"] / (1 << 20)
        finally:
            for child in psutil.Process(process.pid).children():
                child.kill()


def test_cpu_time_is_what_was_used_between_two_looks() -> None:
    with python(
        "import threading\ndef burn():\n  while True: pass\nthreading.Thread(target=burn, daemon=True).start()"
    ) as process:
        reader = TreeReader()
        began_s, used_s = time.monotonic(), processes.read_stat(process.pid).cpu_s  # type: ignore[union-attr]
        assert "tree_cpu_percent" not in reader.read([process.pid], began_s, whole=False, of_tree=False)
        wait_until(lambda: processes.read_stat(process.pid).cpu_s > used_s + 0.5, 60, "half a second of CPU time")  # type: ignore[union-attr]
        now_s = time.monotonic()
        values = reader.read([process.pid], now_s, whole=False, of_tree=False)
        used_s = processes.read_stat(process.pid).cpu_s - used_s  # type: ignore[union-attr]
        expected = 100 * used_s / (now_s - began_s)
        assert values["tree_cpu_percent"] == pytest.approx(expected, rel=0.2)
        assert values["process_cpu_percent"] == pytest.approx(expected / (os.cpu_count() or 1), rel=0.2)


def test_the_tree_of_a_process_that_is_gone_is_empty() -> None:
    with python("") as process:
        pid = process.pid
    assert TreeReader().read([pid], 1.0, whole=True, of_tree=False) == {}


def test_a_process_in_d_state_and_a_zombie_are_counted(tmp_path: Path) -> None:
    def stat(pid: int, state: str, parent: int) -> str:
        return f"{pid} (a) b) {state} {parent} 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 3 0 777 1000 25 " + "0 " * 30

    proc = write(
        tmp_path,
        {"10/stat": stat(10, "S", 1), "10/task/10/children": "11 12", "11/stat": stat(11, "D", 10),
         "11/task/11/children": "", "12/stat": stat(12, "Z", 10)},
    )  # fmt: skip
    values = TreeReader(proc).read([10], 1.0, whole=True, of_tree=False)
    assert (values["tree_processes"], values["tree_uninterruptible"], values["tree_zombies"]) == (3, 1, 1)
    assert values["tree_threads"] == 9
    assert "tree_pss_bytes" not in values  # nobody may read it: not a part, and not 0


# Control groups.

V2_MOUNT = "30 1 0:26 / {mount} rw - cgroup2 cgroup rw\n"


def test_a_cgroup_of_version_2_tells_limits_events_throttling_and_pressure(tmp_path: Path) -> None:
    mount, proc = tmp_path / "cgroup", tmp_path / "proc"
    write(proc, {"7/cgroup": "0::/pod/job\n", "self/mountinfo": V2_MOUNT.format(mount=mount)})
    pod = write(mount / "pod", {"memory.max": f"{8 * GIB}", "memory.current": f"{6 * GIB}",
                                "memory.stat": f"inactive_file {GIB}", "cpu.max": "200000 100000",
                                "cpu.stat": "nr_periods 100\nnr_throttled 10\nthrottled_usec 250000\n"})  # fmt: skip
    job = write(
        mount / "pod" / "job",
        {
            "memory.current": f"{3 * GIB}", "memory.max": "max",
            "memory.stat": f"anon 5\ninactive_file {GIB}\n", "cpu.max": "max 100000",
            "memory.events": "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n",
            "cpu.stat": "usage_usec 1000000\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
            "pids.current": "42", "pids.max": "max",
            "cpu.pressure": "some avg10=12.50 avg60=1.00 avg300=0.00 total=9\n",
            "memory.pressure": "some avg10=1.25 avg60=0 avg300=0 total=9\nfull avg10=0.75 avg60=0 avg300=0 total=9\n",
        },
    )  # fmt: skip
    reader = CgroupReader(7, proc)
    values = reader.read(10.0, whole=True)
    assert values == pytest.approx(
        {
            "container_memory_used_bytes": 3 * GIB, "container_memory_working_bytes": 2 * GIB,
            "container_memory_limit_bytes": 8 * GIB, "container_memory_percent": 62.5,
            "container_memory_limit_hits": 12, "container_memory_ooms": 3, "container_memory_oom_kills": 2,
            "container_cpu_limit_cores": 2.0, "container_cpu_throttled_seconds": 0.25, "container_processes": 42,
            "container_pressure_cpu_some_percent": 12.5, "container_pressure_memory_some_percent": 1.25,
            "container_pressure_memory_full_percent": 0.75,
        }
    )  # fmt: skip
    write(job, {"cpu.stat": "usage_usec 4000000\n"})
    write(pod, {"cpu.stat": "nr_periods 150\nnr_throttled 35\nthrottled_usec 350000\n"})
    values = reader.read(12.0, whole=True)
    assert values["container_cpu_percent"] == pytest.approx(150.0)
    assert values["container_cpu_throttled_percent"] == pytest.approx(50.0)
    assert set(reader.read(13.0, whole=False)) == {
        name for name in values if "memory" in name and "pressure" not in name
    }


def test_a_cgroup_of_version_1_tells_the_same(tmp_path: Path) -> None:
    mount, proc = tmp_path / "cgroup", tmp_path / "proc"
    kinds = ("memory", "cpu,cpuacct", "pids")
    lines = [f"3{n} 1 0:2{n} /docker/abc {mount}/{kind} rw - cgroup cgroup rw,{kind}\n" for n, kind in enumerate(kinds)]
    groups = [f"{n}:{kind}:/docker/abc/job\n" for n, kind in enumerate(kinds)]
    write(proc, {"7/cgroup": "".join(groups), "self/mountinfo": "".join(lines)})
    write(
        mount,
        {
            "memory/job/memory.usage_in_bytes": f"{2 * GIB}", "memory/job/memory.limit_in_bytes": str(2**63 - 4096),
            "memory/job/memory.stat": f"total_inactive_file {GIB}\nhierarchical_memory_limit {4 * GIB}\n",
            "memory/job/memory.failcnt": "5", "memory/job/memory.oom_control": "oom_kill_disable 0\noom_kill 1\n",
            "cpu,cpuacct/job/cpu.cfs_quota_us": "50000", "cpu,cpuacct/job/cpu.cfs_period_us": "100000",
            "cpu,cpuacct/job/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 1500000000\n",
            "cpu,cpuacct/job/cpuacct.usage": "9000000000",
            "pids/job/pids.current": "3", "pids/job/pids.max": "100",
        },
    )  # fmt: skip
    assert CgroupReader(7, proc).read(1.0, whole=True) == pytest.approx(
        {
            "container_memory_used_bytes": 2 * GIB, "container_memory_working_bytes": GIB,
            "container_memory_limit_bytes": 4 * GIB, "container_memory_percent": 25.0,
            "container_memory_limit_hits": 5, "container_memory_oom_kills": 1, "container_cpu_limit_cores": 0.5,
            "container_cpu_throttled_seconds": 1.5, "container_processes": 3, "container_processes_limit": 100,
        }
    )  # fmt: skip


def test_a_cgroup_that_has_no_limit_tells_none(tmp_path: Path) -> None:
    mount, proc = tmp_path / "cgroup", tmp_path / "proc"
    write(proc, {"7/cgroup": "4:memory:/\n", "self/mountinfo": f"3 1 0:2 / {mount} rw - cgroup cgroup rw,memory\n"})
    write(mount, {"memory.usage_in_bytes": "5", "memory.limit_in_bytes": str(2**63 - 4096), "memory.stat": ""})
    values = CgroupReader(7, proc).read(1.0, whole=True)
    assert "container_memory_limit_bytes" not in values
    assert "container_memory_percent" not in values


def test_of_a_process_with_a_cgroup_namespace_its_own_view_is_read(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    mount = tmp_path / "cgroup"
    write(proc, {"7/cgroup": "0::/../../elsewhere\n", "self/mountinfo": V2_MOUNT.format(mount=mount)})
    write(proc / "7" / "root" / "sys" / "fs" / "cgroup",
          {"memory.current": "77", "memory.max": "100", "cgroup.controllers": "memory"})  # fmt: skip
    assert CgroupReader(7, proc).read(1.0, whole=False)["container_memory_percent"] == 77.0


def test_real_cgroups_of_this_machine_are_read_with_the_limits_of_those_above() -> None:
    with control_group() as group:
        require(group, "control groups that can be made (root)")
        assert group is not None
        group.limit_memory(256 << 20)
        group.limit_cpu(0.5)
        step = group.below("step")
        spins = (
            "import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin, daemon=True).start()"
        )
        with python(spins) as task, python("") as sibling:
            reader = CgroupReader(task.pid)
            assert reader.read(time.monotonic(), whole=True).get("container_memory_limit_bytes") != 256 << 20
            step.add(task.pid)
            group.below("other").add(sibling.pid)
            values = reader.read(time.monotonic(), whole=True)
            assert values["container_memory_limit_bytes"] == 256 << 20
            assert values["container_memory_oom_kills"] == 0
            assert values["container_cpu_limit_cores"] == 0.5
            assert "container_cpu_throttled_percent" not in values  # not from the counts of the group of before

            def stopped() -> float:
                return reader.read(time.monotonic(), whole=True).get("container_cpu_throttled_percent", 0.0)

            wait_until(stopped, 30, "a period in which the quota of the group above stops it", poll_s=0.2)


# The host.


def test_memory_is_what_psutil_and_wandb_say() -> None:
    values = Memory().read(whole=True)
    real = psutil.virtual_memory()
    assert values["host_memory_total_bytes"] == real.total
    assert values["host_memory_available_mb"] == pytest.approx(real.available / (1 << 20), rel=0.2)
    assert values["host_memory_used_percent"] == pytest.approx(real.percent, abs=10)


def test_cpu_needs_two_looks_and_load_one() -> None:
    cpu = Cpu()
    assert "host_cpu_percent" not in cpu.read(whole=True)
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        pass
    values = cpu.read(whole=True)
    assert 0 < values["host_cpu_percent"] <= 100
    assert values["host_load1"] == pytest.approx(os.getloadavg()[0], abs=2)


def test_the_space_of_a_path_that_is_not_there_yet_is_that_of_the_folder_above(tmp_path: Path) -> None:
    values = disk_space([("run", str(tmp_path / "not" / "yet"))])
    real = psutil.disk_usage(str(tmp_path))
    assert values["disk_used_percent[run]"] == pytest.approx(real.percent, abs=1)
    assert values["disk_free_bytes[run]"] == pytest.approx(real.free, rel=0.05)


def test_disk_traffic_counts_from_the_beginning_of_sampling(tmp_path: Path) -> None:
    disk = device_of(str(tmp_path))
    if disk is None:
        pytest.skip("the temporary folder lies on no disk")
    traffic = DiskTraffic()
    first = traffic.read([str(tmp_path)], 1.0)
    assert first[f"disk_written_mb[{disk}]"] == 0
    with (tmp_path / "data").open("wb") as file:
        file.write(os.urandom(4 << 20))
        file.flush()
        os.fsync(file.fileno())
    values = traffic.read([str(tmp_path)], 2.0)
    assert values[f"disk_written_mb[{disk}]"] >= 4
    assert 0 <= values[f"disk_busy_percent[{disk}]"] <= 100


def test_infiniband_counters_are_read_in_bytes(tmp_path: Path) -> None:
    write(
        tmp_path / "class" / "infiniband" / "mlx5_0" / "ports" / "1" / "counters",
        {"port_xmit_data": "250", "port_rcv_data": "1000", "symbol_error": "3", "link_downed": "1"},
    )
    values = Network(sys=tmp_path).read()
    assert values["infiniband_sent_bytes[mlx5_0:1]"] == 1000
    assert values["infiniband_received_bytes[mlx5_0:1]"] == 4000
    assert values["infiniband_symbol_errors[mlx5_0:1]"] == 3
    assert "infiniband_receive_errors[mlx5_0:1]" not in values


def test_network_traffic_counts_from_the_beginning_and_tcp_too(tmp_path: Path) -> None:
    snmp = "Tcp: RtoAlgorithm RetransSegs\nTcp: 1 {}\n"
    write(tmp_path, {"net/snmp": snmp.format(100)})
    network = Network(proc=tmp_path)
    assert network.read()["network_tcp_retransmits"] == 0
    write(tmp_path, {"net/snmp": snmp.format(117)})
    values = network.read()
    assert values["network_tcp_retransmits"] == 17
    assert values["network_sent_bytes"] >= 0
