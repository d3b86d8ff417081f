"""Processes that a dead daemon or worker left behind, and how to be sure that a number is still the same process.

A process is known by its number and its start time in clock ticks (/proc/PID/stat, field 22), so a number that the
system gave to somebody else in the meantime is never killed.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
from pathlib import Path
from typing import NamedTuple

from telemetryd.sampling import processes

log = logging.getLogger(__name__)

_PR_SET_CHILD_SUBREAPER = 36
_FILE = "workers.json"


class Process(NamedTuple):
    """A process that can be recognised again."""

    pid: int
    start_ticks: int


def boot_id() -> str:
    """This machine's present run, unlike that of any other; "" where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def identify(pid: int) -> Process | None:
    """The process that has this number now; None when there is none, or it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return None
    return Process(pid, int(fields[19]))


def started_s(process: Process) -> float:
    """When the process started, in seconds since the Unix epoch (to about a second)."""
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        if line.startswith("btime "):
            return float(line.split()[1]) + process.start_ticks / os.sysconf("SC_CLK_TCK")
    raise OSError("/proc/stat has no btime")


def kill(process: Process, *, group: bool) -> bool:
    """SIGKILL the process (or its whole group) if it is still the same one; whether it was."""
    if identify(process.pid) != process:
        return False
    try:
        if group and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        log.error("leftover_not_killed pid=%d error=%r", process.pid, str(error))
        return False
    return True


def become_subreaper() -> bool:
    """Have orphans of our workers become our children, so that they can be killed and reaped. False: not possible."""
    try:
        return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def children() -> list[int]:
    """The numbers of our children, zombies included."""
    return processes.children(os.getpid())


def end_orphan(pid: int) -> bool:
    """Kill a child that is none of the living workers; True once it has been reaped."""
    try:
        os.kill(pid, signal.SIGKILL)
        reaped, _ = os.waitpid(pid, os.WNOHANG)
    except (ProcessLookupError, ChildProcessError, PermissionError):
        return False
    return reaped == pid


class WorkerRecord:
    """The living workers (and what they started) on disk, for the next daemon to clear away if this one dies."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / _FILE

    def write(self, processes: list[Process]) -> None:
        """Replace the record. A failure is logged: the record is a precaution."""
        partial = self._path.with_name(f"{_FILE}.partial")
        try:
            partial.write_text(json.dumps([list(process) for process in processes]), encoding="ascii")
            partial.replace(self._path)
        except OSError as error:
            log.warning("worker_record_failed path=%s error=%r", self._path, str(error))

    def clear_away(self) -> int:
        """Kill what a dead daemon's record names and still lives; how many it were."""
        try:
            listed = json.loads(self._path.read_text(encoding="ascii"))
            processes = [Process(int(pid), int(ticks)) for pid, ticks in listed]
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, TypeError) as error:
            log.warning("worker_record_unreadable path=%s error=%r", self._path, str(error))
            return 0
        killed = sum(kill(process, group=True) for process in processes)
        if killed:
            log.warning("leftovers_killed count=%d", killed)
        return killed
