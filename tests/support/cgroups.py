"""Control groups that a test makes for the processes it starts: a memory limit, a CPU quota; version 1 or 2, whichever
hierarchy of this machine has the controllers.

    with control_group(tmp) as group:           None where this process may make none
        group.limit_memory(256 << 20)
        spawn([*group.enter, "python", …])      begins inside
        group.limit_cpu(0.2)                    cores; None lifts it
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import send, wait_until

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "cpu", "cpuacct")
PERIOD_US = 100_000


class ControlGroup:
    """One group; with version 1 a folder in each hierarchy."""

    def __init__(self, folders: dict[str, Path], *, unified: bool) -> None:
        self.folders = folders
        self.unified = unified
        self._inner: list[ControlGroup] = []

    @property
    def version(self) -> int:
        return 2 if self.unified else 1

    @property
    def enter(self) -> tuple[str, ...]:
        """What starts a command inside the group."""
        moves = "".join(f"echo $$ > {folder}/cgroup.procs; " for folder in self._own())
        return ("sh", "-c", f'{moves}exec "$@"', "sh")

    def below(self, name: str) -> ControlGroup:
        """A group in this one, which removes it with itself."""
        if self.unified:
            (self.folders["cpu"] / "cgroup.subtree_control").write_text("+memory +cpu")
        folders = {controller: folder / name for controller, folder in self.folders.items()}
        for folder in dict.fromkeys(folders.values()):
            folder.mkdir()
        group = ControlGroup(folders, unified=self.unified)
        self._inner.append(group)
        return group

    def add(self, pid: int) -> None:
        for folder in self._own():
            (folder / "cgroup.procs").write_text(str(pid))

    def limit_memory(self, limit_bytes: int) -> None:
        self._write("memory", "memory.max" if self.unified else "memory.limit_in_bytes", str(limit_bytes))

    def limit_cpu(self, cores: float | None) -> None:
        quota_us = int(cores * PERIOD_US) if cores is not None else None
        if self.unified:
            self._write("cpu", "cpu.max", f"{quota_us or 'max'} {PERIOD_US}")
        else:
            self._write("cpu", "cpu.cfs_period_us", str(PERIOD_US))
            self._write("cpu", "cpu.cfs_quota_us", str(quota_us or -1))

    def pids(self) -> list[int]:
        return sorted({int(line) for folder in self._own() for line in (folder / "cgroup.procs").read_text().split()})

    def remove(self) -> None:
        """Kills what is left inside."""
        for group in self._inner:
            group.remove()
        for pid in self.pids():
            send(pid, signal.SIGKILL)
        wait_until(lambda: not self.pids(), 10, lambda: f"an empty group, without {self.pids()}")
        for folder in self._own():
            folder.rmdir()

    def _own(self) -> list[Path]:
        return list(dict.fromkeys(self.folders.values()))

    def _write(self, controller: str, name: str, content: str) -> None:
        (self.folders[controller] / name).write_text(content)


@contextlib.contextmanager
def control_group() -> Iterator[ControlGroup | None]:
    """A group with a memory and a CPU controller, removed afterwards."""
    name = f"telemetryd-test-{os.getpid()}-{time.time_ns()}"
    group = _version_1(name) or _version_2(name)
    try:
        yield group
    finally:
        if group is not None:
            group.remove()


def _version_1(name: str) -> ControlGroup | None:
    made: dict[str, Path] = {}
    for controller in CONTROLLERS:
        folder = (ROOT / controller).resolve() / name  # "cpu" is often a link to "cpu,cpuacct"
        with contextlib.suppress(OSError):
            folder.mkdir(exist_ok=folder in made.values())
            made[controller] = folder
    if {"memory", "cpu"} <= made.keys() and (made["cpu"] / "cpu.cfs_quota_us").exists():
        return ControlGroup(made, unified=False)
    for folder in dict.fromkeys(made.values()):
        folder.rmdir()
    return None


def _version_2(name: str) -> ControlGroup | None:
    folder = ROOT / name
    with contextlib.suppress(OSError):
        (ROOT / "cgroup.subtree_control").write_text("+memory +cpu")  # refused where processes live in the root
    try:
        folder.mkdir()
    except OSError:
        return None
    if (folder / "memory.max").exists() and (folder / "cpu.max").exists():
        return ControlGroup(dict.fromkeys(CONTROLLERS, folder), unified=True)
    folder.rmdir()
    return None
