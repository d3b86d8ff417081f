"""Process trees out of /proc, which a daemon may read of its own user's processes and root of everybody's.

What cannot be read (another user's `io`, `fd` or `smaps_rollup`) of one process is absent for the tree: a part would
pass for all. A process that ended between two looks is simply not there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from telemetryd.sampling.limits import PROCESSES_MAX

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_FILE_MAX_BYTES = 1 << 16
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Stat:
    """Of /proc/PID/stat. `state` is R, S, D, Z …; `cpu_s` user and system time; `start_ticks` since the boot."""

    pid: int
    parent: int
    state: str
    cpu_s: float
    threads: int
    start_ticks: int
    rss_bytes: int


def read_stat(pid: int, proc: Path = Path("/proc")) -> Stat | None:
    """The process's state, None when there is none of this number."""
    text = _read(f"{proc}/{pid}/stat")
    if text is None:
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    return Stat(
        pid,
        int(fields[1]),
        fields[0].decode("ascii"),
        (int(fields[11]) + int(fields[12])) / TICKS_PER_S,
        int(fields[17]),
        int(fields[19]),
        int(fields[21]) * PAGE_BYTES,
    )


def tree(roots: Iterable[int], proc: Path = Path("/proc")) -> dict[int, Stat]:
    """The roots that live, and everything below them."""
    found: dict[int, Stat] = {}
    waiting = list(roots)
    while waiting and len(found) < PROCESSES_MAX:
        pid = waiting.pop()
        if pid in found or (stat := read_stat(pid, proc)) is None:
            continue
        found[pid] = stat
        waiting += children(pid, proc)
    return found


def children(pid: int, proc: Path = Path("/proc")) -> list[int]:
    """Of all its threads. Kernels without CONFIG_PROC_CHILDREN do not tell: then nothing."""
    found: list[int] = []
    try:
        with os.scandir(f"{proc}/{pid}/task") as tasks:
            paths = [task.path for task in tasks]
    except OSError:
        return found
    for path in paths:
        if text := _read(f"{path}/children"):
            found += [int(child) for child in text.split()]
    return found


def pss_bytes(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Resident memory with shared pages divided among those who share them."""
    return _line(f"{proc}/{pid}/smaps_rollup", b"Pss:", 1024)


def open_files(pid: int, proc: Path = Path("/proc")) -> int | None:
    """How many descriptors it has."""
    try:
        with os.scandir(f"{proc}/{pid}/fd") as entries:
            return sum(1 for _ in entries)
    except OSError:
        return None


def disk_bytes(pid: int, proc: Path = Path("/proc")) -> tuple[int, int] | None:
    """(read from, written to) disks."""
    path = f"{proc}/{pid}/io"
    read, written = _line(path, b"read_bytes:"), _line(path, b"write_bytes:")
    return None if read is None or written is None else (read, written)


class TreeReader:
    """The process tree of one run: CPU time is what was used since the look before."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._cpu_before: dict[tuple[int, int], float] = {}
        self._looked_s: float | None = None
        self.pids: frozenset[int] = frozenset()
        """The tree at the last look."""

    def read(self, roots: list[int], now_s: float, *, whole: bool, of_tree: bool) -> dict[str, float]:
        """Values by metric; with `whole` also what is costly to find out. The first root is the main process, and
        with `of_tree` what is told of it is told of the whole tree. Empty when no root lives."""
        stats = tree(roots, self._proc)
        self.pids = frozenset(stats)
        used = {(stat.pid, stat.start_ticks): stat.cpu_s for stat in stats.values()}
        before, self._cpu_before = self._cpu_before, used
        elapsed_s = now_s - self._looked_s if self._looked_s is not None else 0.0
        self._looked_s = now_s
        if not stats:
            return {}
        main = next((stats[pid] for pid in roots if pid in stats), None)
        values = {
            "tree_processes": float(len(stats)),
            "tree_rss_bytes": float(sum(stat.rss_bytes for stat in stats.values())),
            "tree_threads": float(sum(stat.threads for stat in stats.values())),
            "tree_uninterruptible": float(sum(stat.state == "D" for stat in stats.values())),
        }
        share = {key: cpu_s - before.get(key, 0.0) for key, cpu_s in used.items()}
        if elapsed_s > 0 and before:
            values["tree_cpu_percent"] = 100.0 * max(0.0, sum(share.values())) / elapsed_s
        if main is not None:
            cores = os.cpu_count() or 1
            rss, threads = (values["tree_rss_bytes"], values["tree_threads"]) if of_tree else (
                float(main.rss_bytes), float(main.threads))  # fmt: skip
            values["process_rss_mb"], values["process_threads"] = rss / (1 << 20), threads
            key = (main.pid, main.start_ticks)
            if of_tree and "tree_cpu_percent" in values:
                values["process_cpu_percent"] = values["tree_cpu_percent"] / cores
            elif not of_tree and elapsed_s > 0 and key in before:
                values["process_cpu_percent"] = 100.0 * max(0.0, share[key]) / elapsed_s / cores
        if whole:
            self._read_costly(stats, values)
        return values

    def _read_costly(self, stats: dict[int, Stat], values: dict[str, float]) -> None:
        living = [pid for pid, stat in stats.items() if stat.state not in "ZX"]
        values["tree_zombies"] = float(len(stats) - len(living))
        for name, read in (("tree_pss_bytes", pss_bytes), ("tree_open_files", open_files)):
            sums = [read(pid, self._proc) for pid in living]
            if living and None not in sums:
                values[name] = float(sum(amount for amount in sums if amount is not None))
        moved = [disk_bytes(pid, self._proc) for pid in living]
        if living and None not in moved:
            values["tree_read_bytes"] = float(sum(both[0] for both in moved if both is not None))
            values["tree_written_bytes"] = float(sum(both[1] for both in moved if both is not None))


def _read(path: str) -> bytes | None:
    """A file of /proc. Once a second for every thread of a training: without what `open` and pathlib cost."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, _FILE_MAX_BYTES)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _line(path: str, name: bytes, scale: int = 1) -> int | None:
    for line in (_read(path) or b"").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * scale
    return None
