"""What is sampled of each run: its process tree, its container, and the disks that it writes to."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping

from telemetryd.sampling.cgroup import CgroupReader
from telemetryd.sampling.host import disk_space
from telemetryd.sampling.messages import Process, Reading, Target, Watch
from telemetryd.sampling.processes import TreeReader, read_stat
from telemetryd.sampling.schedule import Due

SHARED_MEMORY = "/dev/shm"


class Runs:
    """The runs that are watched now. `emit` gets a reading each; used by several lanes."""

    def __init__(self, emit: Callable[[Reading], None]) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self._targets: dict[int, Target] = {}
        self._trees: dict[int, TreeReader] = {}
        self._cgroups: dict[int, tuple[int, CgroupReader]] = {}
        self._paths: list[str] = []

    def watch(self, watch: Watch) -> None:
        """Replace what is watched."""
        with self._lock:
            self._targets = {target.run: target for target in watch.targets}
            self._paths = watch.paths
            self._trees = {run: self._trees.get(run) or TreeReader() for run in self._targets}
            self._cgroups = {run: kept for run, kept in self._cgroups.items() if run in self._targets}

    def trees(self) -> Mapping[int, frozenset[int]]:
        """The process numbers of each run, as last seen."""
        with self._lock:
            return {run: tree.pids for run, tree in self._trees.items()}

    def disk_paths(self) -> list[str]:
        """Every path that matters to anybody."""
        with self._lock:
            return [*self._paths, *(path for target in self._targets.values() for path in target.paths)]

    def host_paths(self) -> list[tuple[str, str]]:
        """(label, path) of those that are no run's own."""
        with self._lock:
            return [(path, path) for path in self._paths]

    def read_processes(self, due: Due) -> None:
        """The "process" lane."""
        with self._lock:
            runs = [(target, self._trees[run]) for run, target in self._targets.items()]
        for target, tree in runs:
            roots = [process.pid for process in target.processes if _is_still(process)]
            now_s, now_ns = time.monotonic(), time.time_ns()
            values = tree.read(roots, now_s, whole="process" in due.families, of_tree=target.tree)
            if "process" in due.families and "process_rss_mb" in values:
                values["process_rss_percent"] = _percent_of_memory(values["process_rss_mb"])
            if roots:
                values |= self._cgroup(target.run, roots[0]).read(now_s, whole="container" in due.families)
            if values:
                families = sorted(due.families & {"process", "container"})
                self._emit(Reading(now_ns, f"run:{target.run}", values, families))

    def _cgroup(self, run: int, pid: int) -> CgroupReader:
        kept = self._cgroups.get(run)
        if kept is None or kept[0] != pid:
            kept = self._cgroups[run] = (pid, CgroupReader(pid))
        return kept[1]

    def read_disks(self) -> None:
        """The runs' part of the "disk" lane: paths are seen as the training process sees them."""
        with self._lock:
            targets = list(self._targets.values())
        for target in targets:
            root = next((f"/proc/{one.pid}/root" for one in target.processes if _is_still(one)), "")
            paths = [(path, root + path) for path in dict.fromkeys([*target.paths, SHARED_MEMORY])]
            now_ns = time.time_ns()
            values = disk_space(paths)
            if values:
                self._emit(Reading(now_ns, f"run:{target.run}", values, ["disk"]))


def _is_still(process: Process) -> bool:
    """Whether the number is still the same process's."""
    stat = read_stat(process.pid)
    return stat is not None and stat.start_ticks == process.start_ticks


_MEMORY_MB = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _percent_of_memory(mebibytes: float) -> float:
    return 100.0 * mebibytes / _MEMORY_MB
