"""Host, process tree and container as the sampling process reads them from this machine's own kernel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from telemetryd.sampling import host_catalogue
from telemetryd.sampling.catalogue import HOST_METRICS, split
from telemetryd.sampling.messages import Process, Reading, Target
from telemetryd.sampling.processes import read_stat
from tests.support.cgroups import ControlGroup, control_group
from tests.support.processes import wait_until
from tests.support.requirements import require
from tests.support.sampler import SamplerRig

METRICS = {metric.name for metric in (*HOST_METRICS, *host_catalogue.PROCESS, *host_catalogue.CONTAINER)}
WORKS = "data = b'x' * (8 << 20)\nwhile True:\n    sum(range(10000))"


def absent_here(group: ControlGroup) -> set[str]:
    """Metrics of the catalogue that this machine has no source for."""
    absent = set()
    if not list(Path("/sys/class/infiniband").glob("*/ports/*")):
        absent |= {name for name in METRICS if name.startswith("infiniband_")}
    if "SwapTotal:             0 kB" in Path("/proc/meminfo").read_text():
        absent |= {"host_swap_used_percent"}
    if not Path("/proc/pressure").exists():
        absent |= {name for name in METRICS if "_pressure_" in name}
    if not group.unified:
        absent |= {"container_memory_ooms"} | {name for name in METRICS if name.startswith("container_pressure_")}
    return absent | {"container_processes", "container_processes_limit"}  # of a hierarchy that the group may not be in


def test_this_machine_tells_every_metric_of_the_catalogue_that_its_kernel_has(tmp_path: Path) -> None:
    with control_group() as group:
        require(group, "control groups that can be made (root)")
        assert group is not None
        group.limit_memory(1 << 30)
        group.limit_cpu(0.5)
        rig = SamplerRig(tmp_path / "rig")
        training = subprocess.Popen([*group.enter, sys.executable, "-c", WORKS])
        try:
            wait_until(lambda: (stat := read_stat(training.pid)) and stat.rss_bytes > 8 << 20, 30, "its memory")
            stat = read_stat(training.pid)
            assert stat is not None
            rig.watch(Target(1, [Process(training.pid, stat.start_ticks, 0, 0)]), paths=["/"])
            seen: dict[str, float] = {}
            wanted = METRICS - absent_here(group)

            def all_seen(read: Reading) -> bool:
                seen.update({split(name)[0]: value for name, value in read.values.items()})
                stopped = seen.get("container_cpu_throttled_percent", 0.0) > 0
                return stopped and not wanted - seen.keys()

            try:
                rig.wait_for(Reading, all_seen)
            except AssertionError:
                assert wanted - seen.keys() == set()
                raise
            assert [name for name, value in seen.items() if value < 0] == []
            assert seen["container_cpu_limit_cores"] == 0.5
            assert seen["container_memory_limit_bytes"] == 1 << 30
            assert seen["tree_rss_bytes"] >= seen["tree_pss_bytes"] > 4 << 20
        finally:
            os.kill(training.pid, signal.SIGKILL)
            training.wait()
            rig.close()
