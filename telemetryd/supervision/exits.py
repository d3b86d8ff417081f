"""Watches training processes from outside and tells how each ended: the daemon is not their parent.

A process's end is seen on its pidfd, at once. How it ended is told, as far as it can be, by
* the kernel: PIDFD_GET_INFO (Linux 6.15 and later) once it was reaped, or /proc/PID/stat before that,
* the control group's count of OOM kills, read all along and once more after the end,
* the kernel's log, where this process may read it (/dev/kmsg: root outside of containers).
The launcher's exit code, where there is one, is the caller's to add. Runs on the daemon's main thread; never waits.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import select
import struct
from collections import deque
from dataclasses import dataclass, replace

from telemetryd.health.exit_cause import Evidence
from telemetryd.limits import OOM_COUNT_AGE_S
from telemetryd.sampling.oom_kills import OomKills
from telemetryd.supervision import leftovers
from telemetryd.supervision.leftovers import Process

log = logging.getLogger(__name__)

_PIDFD_INFO_EXIT = 1 << 3
_PIDFD_INFO = struct.Struct("<QQ11Ii")
"""linux/pidfd.h: mask, cgroup, eleven numbers of process and users, exit code (a wait status)."""
_PIDFD_GET_INFO = 3 << 30 | _PIDFD_INFO.size << 16 | 0xFF << 8 | 11
_KMSG_LINES = 200
_OF_INTEREST = re.compile(r"Killed process|segfault at")


class KernelLog:
    """The kernel's newest words on processes that it killed, since this was made."""

    def __init__(self, path: str = "/dev/kmsg") -> None:
        self._lines: deque[str] = deque(maxlen=_KMSG_LINES)
        self._fd = -1
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            self.close()
            log.info("kernel_log_unreadable path=%s reason=%r", path, error.strerror)

    def about(self, pid: int) -> tuple[str, ...]:
        """Lines that say that this process was killed or crashed."""
        self._read()
        names = re.compile(rf"\[{pid}\]: segfault at|Killed process {pid} \(")
        return tuple(line for line in self._lines if names.search(line))

    def _read(self) -> None:
        while self._fd >= 0:
            try:
                line = os.read(self._fd, 8192).decode("utf-8", "replace")
            except BlockingIOError:
                return
            except BrokenPipeError:  # lines were overwritten before we read them
                continue
            except OSError:
                self.close()
                return
            if not line:
                return
            if _OF_INTEREST.search(line):
                self._lines.append(line.partition(";")[2].partition("\n")[0])

    def close(self) -> None:
        """Read no more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@dataclass
class _Watched:
    process: Process
    pidfd: int
    kills: OomKills
    kills_before: int | None
    """The count at the last look but one, at least: it may have risen before the end was seen."""
    kills_now: int | None
    counted_s: float
    evidence: Evidence | None = None
    """Once it has ended."""


class Exits:
    """The processes by the session that each of them has."""

    def __init__(self, kernel_log: KernelLog | None = None) -> None:
        self._watched: dict[str, _Watched] = {}
        self._log = kernel_log or KernelLog()
        self._poll = select.poll()

    def watch(self, session: str, process: Process, now_s: float) -> None:
        """Watch a session's process from now on."""
        if session in self._watched:
            return
        try:
            pidfd = os.pidfd_open(process.pid)
        except (OSError, AttributeError):
            pidfd = -1
        else:
            self._poll.register(pidfd, select.POLLIN)
        kills = OomKills(process.pid)
        count = kills.read()
        self._watched[session] = _Watched(process, pidfd, kills, count, count, now_s)

    def knows(self, session: str) -> bool:
        """Whether the session's process is or was watched."""
        return session in self._watched

    def look(self, now_s: float) -> list[str]:
        """Sessions whose process has ended since the look before."""
        readable = {fd for fd, _ in self._poll.poll(0)}
        ended = []
        for session, watched in self._watched.items():
            if watched.evidence is not None:
                continue
            if self._has_ended(watched, readable):
                watched.evidence = self._evidence(watched, Evidence())
                ended.append(session)
            elif now_s - watched.counted_s >= OOM_COUNT_AGE_S:
                watched.kills_before, watched.kills_now = watched.kills_now, watched.kills.read()
                watched.counted_s = now_s
        return ended

    def evidence(self, session: str) -> Evidence | None:
        """What is known of the end of a session's process; None while it lives or when it was never watched."""
        watched = self._watched.get(session)
        if watched is None or watched.evidence is None:
            return None
        watched.evidence = self._evidence(watched, watched.evidence)
        return watched.evidence

    def has_ended(self, session: str) -> bool:
        """Whether its process was watched and has ended."""
        watched = self._watched.get(session)
        return watched is not None and watched.evidence is not None

    def forget(self, session: str) -> None:
        """Watch it no more."""
        watched = self._watched.pop(session, None)
        if watched is not None:
            if watched.pidfd >= 0:
                self._poll.unregister(watched.pidfd)
                os.close(watched.pidfd)
            watched.kills.close()

    def close(self) -> None:
        """Forget everything."""
        for session in list(self._watched):
            self.forget(session)
        self._log.close()

    def _has_ended(self, watched: _Watched, readable: set[int]) -> bool:
        if watched.pidfd >= 0:
            return watched.pidfd in readable
        return leftovers.identify(watched.process.pid) != watched.process

    def _evidence(self, watched: _Watched, before: Evidence) -> Evidence:
        """With what has become known since."""
        status = before.status if before.status is not None else _status(watched.pidfd, watched.process)
        count, earlier = watched.kills.read(), watched.kills_before
        risen = count - earlier if count is not None and earlier is not None else before.oom_kills
        found = before.kernel_log or self._log.about(watched.process.pid)
        return replace(before, status=status, oom_kills=risen, kernel_log=found)


def _status(pidfd: int, process: Process) -> int | None:
    """The wait status of a process that has ended, None where the kernel does not tell."""
    if pidfd >= 0:
        asked = bytearray(_PIDFD_INFO.pack(_PIDFD_INFO_EXIT, *[0] * 13))
        try:
            fcntl.ioctl(pidfd, _PIDFD_GET_INFO, asked)
            mask, *_, code = _PIDFD_INFO.unpack(asked)
            if mask & _PIDFD_INFO_EXIT:
                return int(code)
        except OSError:  # an older kernel, or a zombie still
            pass
    try:
        with open(f"/proc/{process.pid}/stat", "rb") as file:  # noqa: PTH123 - bytes, once
            text = file.read()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    if fields[0] != b"Z" or int(fields[19]) != process.start_ticks or len(fields) < 50:
        return None
    return int(fields[49]) or None  # 0 is also what the kernel shows those who may not see it
