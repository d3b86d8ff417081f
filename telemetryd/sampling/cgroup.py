"""The control group of a process, version 1, 2 or both: limits, throttling, memory events, pressure.

Where it lies: /proc/PID/cgroup names a path for each hierarchy, relative to our own cgroup namespace, and
/proc/self/mountinfo says where the hierarchies are mounted. Where that leads nowhere, because the process has a cgroup
namespace of its own, its own view is taken: /proc/PID/root/sys/fs/cgroup. What a kernel does not tell is absent.

Limits of groups above hold for a process as well, and are shared with what else is in them (the tasks of a Slurm step,
the containers of a pod): of all limits that can be seen, the one that is nearest to being reached is told.
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
        self._periods: dict[Path, tuple[int, int]] = {}
        """(periods, those in which it was stopped) of each group with a quota, at the reading before."""
        self._cpu: tuple[float, float] | None = None
        self._groups: list[str] = []
        self._found: dict[str, Path] = {}

    def read(self, now_s: float, *, whole: bool) -> dict[str, float]:
        """Values by metric; without `whole` only memory."""
        folders = self.folders()
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
        return {name: float(value) for name, value in values.items() if value is not None}

    def folders(self) -> dict[str, Path]:
        """Where each hierarchy's files of the process are: by controller, "" for version 2. Found anew when the process
        was moved to another group."""
        lines = _lines(self._proc / str(self._pid) / "cgroup")
        if lines != self._groups:
            self._groups, self._found = lines, self._find_folders(lines)
            self._cpu = None
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
            usage = _table(unified / "cpu.stat").get("usage_usec")
            used_s = usage / 1e6 if usage is not None else None
            quotas = _quotas_v2(unified)
        else:
            cpu, account = folders.get("cpu"), folders.get("cpuacct")
            if cpu is None:
                return {}
            usage = _number(account / "cpuacct.usage") if account is not None else None
            used_s = usage / 1e9 if usage is not None else None
            quotas = _quotas_v1(cpu)
        values: dict[str, float | None] = {}
        if quotas:
            values["container_cpu_limit_cores"] = min(quotas.values())
            values |= self._throttling(list(quotas))
        if used_s is not None:
            if self._cpu is not None and now_s > self._cpu[0]:
                values["container_cpu_percent"] = max(0.0, 100.0 * (used_s - self._cpu[1]) / (now_s - self._cpu[0]))
            self._cpu = (now_s, used_s)
        return values

    def _throttling(self, groups: list[Path]) -> dict[str, float | None]:
        """Of the group whose quota stops it most; the share of periods is that since the reading before."""
        stats = {group: _table(group / "cpu.stat") for group in groups}
        now = {group: (stat["nr_periods"], stat.get("nr_throttled", 0)) for group, stat in stats.items()
               if "nr_periods" in stat}  # fmt: skip
        shares = []
        for group in now.keys() & self._periods.keys():
            periods, stopped = (after - before for after, before in zip(now[group], self._periods[group], strict=True))
            shares.append(100.0 * stopped / periods if periods > 0 else 0.0)
        self._periods = now
        seconds = [stat["throttled_usec"] / 1e6 for stat in stats.values() if "throttled_usec" in stat]
        seconds += [stat["throttled_time"] / 1e9 for stat in stats.values() if "throttled_time" in stat]
        return {
            "container_cpu_throttled_percent": max(shares, default=None),
            "container_cpu_throttled_seconds": max(seconds, default=None),
        }


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
    limits = {group: _number(group / "memory.max") for group in _levels(folder, "memory.max")}
    shares = [
        100.0 * working / limit
        for group, limit in limits.items()
        if limit and (working := _working_v2(group)) is not None
    ]
    return {
        "container_memory_used_bytes": _number(folder / "memory.current"),
        "container_memory_working_bytes": _working_v2(folder),
        "container_memory_limit_bytes": min((limit for limit in limits.values() if limit is not None), default=None),
        "container_memory_percent": max(shares, default=None),
        "container_memory_limit_hits": events.get("max"),
        "container_memory_ooms": events.get("oom"),
        "container_memory_oom_kills": events.get("oom_kill"),
    }


def _working_v2(folder: Path) -> int | None:
    used = _number(folder / "memory.current")
    idle = _table(folder / "memory.stat").get("inactive_file", 0)
    return max(0, used - idle) if used is not None else None


def _memory_v1(folder: Path) -> dict[str, float | None]:
    limits: dict[Path, int] = {}
    for group in _levels(folder, "memory.limit_in_bytes"):
        limit = _number(group / "memory.limit_in_bytes")
        if limit is not None and limit < _UNLIMITED_BYTES:
            limits[group] = limit
    of_all = _table(folder / "memory.stat").get("hierarchical_memory_limit", _UNLIMITED_BYTES)
    if of_all < min(limits.values(), default=_UNLIMITED_BYTES):  # of a group that cannot be seen from here
        limits[folder] = of_all
    shares = [
        100.0 * working / limit
        for group, limit in limits.items()
        if limit and (working := _working_v1(group)) is not None
    ]
    return {
        "container_memory_used_bytes": _number(folder / "memory.usage_in_bytes"),
        "container_memory_working_bytes": _working_v1(folder),
        "container_memory_limit_bytes": min(limits.values(), default=None),
        "container_memory_percent": max(shares, default=None),
        "container_memory_limit_hits": _number(folder / "memory.failcnt"),
        "container_memory_oom_kills": _table(folder / "memory.oom_control").get("oom_kill"),
    }


def _working_v1(folder: Path) -> int | None:
    used, stat = _number(folder / "memory.usage_in_bytes"), _table(folder / "memory.stat")
    idle = stat.get("total_inactive_file", stat.get("inactive_file", 0))
    return max(0, used - idle) if used is not None else None


def _processes(folders: dict[str, Path]) -> dict[str, float | None]:
    for controller in ("", "pids"):
        folder = folders.get(controller)
        if folder is not None and (folder / "pids.current").exists():
            return {
                "container_processes": _number(folder / "pids.current"),
                "container_processes_limit": _number(folder / "pids.max"),
            }
    return {}


def _levels(folder: Path, name: str) -> list[Path]:
    """The group and those above it that can be seen and have this file."""
    found: list[Path] = []
    while (folder / name).exists():
        found.append(folder)
        folder = folder.parent
    return found


def _quotas_v2(folder: Path) -> dict[Path, float]:
    """Cores of the group, and of those above it, that have a quota."""
    found: dict[Path, float] = {}
    for group in _levels(folder, "cpu.max"):
        words = " ".join(_lines(group / "cpu.max")).split()
        if len(words) == 2 and words[0] != "max":
            found[group] = int(words[0]) / int(words[1])
    return found


def _quotas_v1(folder: Path) -> dict[Path, float]:
    found: dict[Path, float] = {}
    for group in _levels(folder, "cpu.cfs_quota_us"):
        quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
        if quota is not None and quota > 0 and period:
            found[group] = quota / period
    return found


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
