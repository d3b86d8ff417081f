"""The control group of a process, version 1, 2 or both: limits, throttling, memory events, pressure.

Where it lies: /proc/PID/cgroup names a path for each hierarchy, relative to our own cgroup namespace, and
/proc/self/mountinfo says where the hierarchies are mounted. Where that leads nowhere, because the process has a cgroup
namespace of its own, its own view is taken: /proc/PID/root/sys/fs/cgroup. What a kernel does not tell is absent.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_UNLIMITED_BYTES = 1 << 60
"""Version 1 writes "no limit" as the largest page-aligned integer."""


@dataclass(frozen=True)
class _Mount:
    root: str
    point: Path


class CgroupReader:
    """The cgroup of one process; throttling is told for the time since the reading before."""

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        self._pid = pid
        self._proc = proc
        self._periods: tuple[int, int] | None = None
        self._cpu: tuple[float, float] | None = None
        self._groups: list[str] = []
        self._found: dict[str, Path] = {}

    def read(self, now_s: float, *, whole: bool) -> dict[str, float]:
        """Values by metric; without `whole` only memory."""
        folders = self._folders()
        values: dict[str, float | None] = {}
        unified = folders.get("")
        if unified is not None and (unified / "memory.current").exists():
            values |= _memory_v2(unified)
        elif (memory := folders.get("memory")) is not None:
            values |= _memory_v1(memory)
        if whole:
            values |= self._cpu_values(folders, now_s)
            values |= _processes(folders)
            values |= pressure(unified, "container_pressure", ".pressure") if unified is not None else {}
        known = {name: float(value) for name, value in values.items() if value is not None}
        limit = known.get("container_memory_limit_bytes")
        if limit and (working := known.get("container_memory_working_bytes")) is not None:
            known["container_memory_percent"] = 100.0 * working / limit
        return known

    def _folders(self) -> dict[str, Path]:
        """Where each hierarchy's files of the process are: by controller, "" for version 2. Found anew when the process
        was moved to another group."""
        lines = _lines(self._proc / str(self._pid) / "cgroup")
        if lines != self._groups:
            self._groups, self._found = lines, self._find_folders(lines)
        return self._found

    def _find_folders(self, lines: list[str]) -> dict[str, Path]:
        mounts = _mounts(self._proc)
        found: dict[str, Path] = {}
        for line in lines:
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                folder = _below(mounts.get(controller), path) or self._own_view(controller)
                if folder is not None:
                    found[controller] = folder
        return found

    def _own_view(self, controller: str) -> Path | None:
        folder = self._proc / str(self._pid) / "root" / "sys" / "fs" / "cgroup" / controller
        try:
            return folder if folder.is_dir() else None
        except OSError:
            return None

    def _cpu_values(self, folders: dict[str, Path], now_s: float) -> dict[str, float | None]:
        unified = folders.get("")
        if unified is not None and (unified / "cpu.stat").exists() and (unified / "cpu.max").exists():
            stat = _table(unified / "cpu.stat")
            quota, period = _cpu_max(unified)
            used_s = stat["usage_usec"] / 1e6 if "usage_usec" in stat else None
            throttled_s = stat["throttled_usec"] / 1e6 if "throttled_usec" in stat else None
        else:
            cpu, account = folders.get("cpu"), folders.get("cpuacct")
            if cpu is None:
                return {}
            stat = _table(cpu / "cpu.stat")
            quota, period = _number(cpu / "cpu.cfs_quota_us"), _number(cpu / "cpu.cfs_period_us")
            usage = _number(account / "cpuacct.usage") if account is not None else None
            used_s = usage / 1e9 if usage is not None else None
            throttled_s = stat["throttled_time"] / 1e9 if "throttled_time" in stat else None
        limited = quota is not None and quota > 0 and bool(period)
        values: dict[str, float | None] = {
            "container_cpu_limit_cores": quota / period if limited and quota and period else None,
            "container_cpu_throttled_seconds": throttled_s if limited else None,
        }
        if limited and "nr_periods" in stat:
            now = (stat["nr_periods"], stat.get("nr_throttled", 0))
            if self._periods is not None:
                periods = now[0] - self._periods[0]
                values["container_cpu_throttled_percent"] = (
                    100.0 * (now[1] - self._periods[1]) / periods if periods > 0 else 0.0
                )
            self._periods = now
        if used_s is not None:
            if self._cpu is not None and now_s > self._cpu[0]:
                values["container_cpu_percent"] = max(0.0, 100.0 * (used_s - self._cpu[1]) / (now_s - self._cpu[0]))
            self._cpu = (now_s, used_s)
        return values


class OomKills:
    """How many processes of one process's control group the kernel has killed for want of memory. Can be read after the
    process is gone, while its group is there."""

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        """Opens the count; where there is none it is never told."""
        folders = CgroupReader(pid, proc)._folders()
        unified, memory = folders.get(""), folders.get("memory")
        files = [
            folder / name for folder, name in ((unified, "memory.events"), (memory, "memory.oom_control")) if folder
        ]
        self._fd = -1
        for file in files:
            try:
                self._fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
                break
            except OSError:
                continue

    def read(self) -> int | None:
        """The count, None where it cannot be told."""
        if self._fd < 0:
            return None
        try:
            text = os.pread(self._fd, 4096, 0).decode("ascii", "replace")
        except OSError:  # the group was removed
            return None
        counts = dict(line.split() for line in text.splitlines() if len(line.split()) == 2)
        return int(counts["oom_kill"]) if counts.get("oom_kill", "").isdigit() else None

    def close(self) -> None:
        """Close the count."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def pressure(folder: Path, prefix: str, suffix: str = "") -> dict[str, float | None]:
    """PSI files of a cgroup, or of /proc/pressure: percent of the last ten seconds."""
    values: dict[str, float | None] = {}
    for what in ("cpu", "memory", "io"):
        for line in _lines(folder / f"{what}{suffix}"):
            who, *numbers = line.split()
            for pair in numbers:
                name, _, value = pair.partition("=")
                if name == "avg10":
                    values[f"{prefix}_{what}_{who}_percent"] = float(value)
    return values


def _memory_v2(folder: Path) -> dict[str, float | None]:
    events = _table(folder / "memory.events")
    used = _number(folder / "memory.current")
    idle = _table(folder / "memory.stat").get("inactive_file", 0)
    return {
        "container_memory_used_bytes": used,
        "container_memory_working_bytes": max(0, used - idle) if used is not None else None,
        "container_memory_limit_bytes": _lowest(folder, "memory.max"),
        "container_memory_limit_hits": events.get("max"),
        "container_memory_ooms": events.get("oom"),
        "container_memory_oom_kills": events.get("oom_kill"),
    }


def _memory_v1(folder: Path) -> dict[str, float | None]:
    used, stat = _number(folder / "memory.usage_in_bytes"), _table(folder / "memory.stat")
    idle = stat.get("total_inactive_file", stat.get("inactive_file", 0))
    limits = [_number(folder / "memory.limit_in_bytes"), stat.get("hierarchical_memory_limit")]
    known = [limit for limit in limits if limit is not None and limit < _UNLIMITED_BYTES]
    return {
        "container_memory_used_bytes": used,
        "container_memory_working_bytes": max(0, used - idle) if used is not None else None,
        "container_memory_limit_bytes": min(known) if known else None,
        "container_memory_limit_hits": _number(folder / "memory.failcnt"),
        "container_memory_oom_kills": _table(folder / "memory.oom_control").get("oom_kill"),
    }


def _processes(folders: dict[str, Path]) -> dict[str, float | None]:
    for controller in ("", "pids"):
        folder = folders.get(controller)
        if folder is not None and (folder / "pids.current").exists():
            return {
                "container_processes": _number(folder / "pids.current"),
                "container_processes_limit": _number(folder / "pids.max"),
            }
    return {}


def _lowest(folder: Path, name: str) -> int | None:
    """The lowest limit of the group and of those above it that can be seen."""
    found: list[int] = []
    while (folder / "cgroup.controllers").exists():
        limit = _number(folder / name)
        if limit is not None:
            found.append(limit)
        folder = folder.parent
    return min(found) if found else None


def _cpu_max(folder: Path) -> tuple[int | None, int | None]:
    """(quota, period) in microseconds of the group, or of the tightest above it."""
    best: tuple[int | None, int | None] = (None, None)
    while (folder / "cgroup.controllers").exists():
        words = " ".join(_lines(folder / "cpu.max")).split()
        if len(words) == 2 and words[0] != "max":
            quota, period = int(words[0]), int(words[1])
            if best[0] is None or best[1] is None or quota / period < best[0] / best[1]:
                best = (quota, period)
        folder = folder.parent
    return best


def _mounts(proc: Path) -> dict[str, _Mount]:
    """Hierarchies that are mounted here, by controller, "" for version 2."""
    found: dict[str, _Mount] = {}
    for line in _lines(proc / "self" / "mountinfo"):
        before, _, after = line.partition(" - ")
        fields, (kind, *rest) = before.split(), after.split()
        if kind == "cgroup2":
            found.setdefault("", _Mount(fields[3], Path(fields[4])))
        elif kind == "cgroup" and len(rest) > 1:
            for controller in rest[1].split(","):
                found.setdefault(controller, _Mount(fields[3], Path(fields[4])))
    return found


def _below(mount: _Mount | None, path: str) -> Path | None:
    if mount is None or "/.." in path:
        return None
    if mount.root != "/":
        if not (path == mount.root or path.startswith(mount.root + "/")):
            return None
        path = path[len(mount.root) :]
    folder = mount.point / path.lstrip("/")
    return folder if folder.is_dir() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _table(path: Path) -> dict[str, int]:
    pairs = [line.split() for line in _lines(path)]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].lstrip("-").isdigit()}


def device_of(path: str) -> str | None:
    """The disk that holds a path ("nvme0n1"), None for memory, network and other file systems without one."""
    try:
        number = Path(path).stat().st_dev
    except OSError:
        return None
    device = Path("/sys/dev/block") / f"{os.major(number)}:{os.minor(number)}"
    try:
        real = device.resolve(strict=True)
    except OSError:
        return None
    return real.parent.name if (real / "partition").exists() else real.name
