"""The kernel's count of OOM kills in a process's control group, version 1 or 2."""

from __future__ import annotations

import os
from pathlib import Path

from telemetryd.sampling.cgroup import CgroupReader


class OomKills:
    """How many processes of one process's control group the kernel has killed for want of memory. Can be read after the
    process is gone, while its group is there."""

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        """Opens the count; where there is none it is never told."""
        folders = CgroupReader(pid, proc).folders()
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
