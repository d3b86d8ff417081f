"""One worker for a run at a time, and none of a former one's processes left.

`<state>/workers/<run>.lock` is held (flock) by the run's worker for its life and says who that is. A worker that finds
it held, or finds what a killed worker left behind, ends those processes first: a wandb-core that still writes would
make the .wandb file grow after it has been read. wandb-core runs in a session of its own, so no process group reaches
it; it is found by its arguments, which name the worker's pid.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from telemetryd.runs.errors import PredecessorError
from telemetryd.runs.limits import PREDECESSOR_POLL_S, PREDECESSOR_WAIT_S

log = logging.getLogger(__name__)

CORE_NAME = "wandb-core"


class Owner(msgspec.Struct):
    """Who holds a run's lock. `started` is the process's start time in clock ticks since boot: pids are used again."""

    pid: int
    started: int
    temp_dir: str


def started_ticks(pid: int) -> int | None:
    """A process's start time in clock ticks since boot; None when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def cores_of(worker_pid: int) -> list[int]:
    """Pids of the wandb-core processes that serve this worker."""
    wanted = [b"--pid", str(worker_pid).encode()]
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if arguments[0].endswith(CORE_NAME.encode()) and any(
            arguments[i : i + 2] == wanted for i in range(1, len(arguments) - 1)
        ):
            found.append(int(entry.name))
    return found


def is_core(pid: int) -> bool:
    """Whether a process is a living wandb-core: a dead one that nobody has waited for yet has no arguments."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].endswith(CORE_NAME.encode())
    except OSError:
        return False


def kill(pid: int) -> None:
    """SIGKILL a process that may be gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def remove_files_of(lock_path: Path, pid: int) -> None:
    """Remove the temporary files of a worker that has been reaped. One that was killed, or whose wandb-core still wrote
    there while it left, has not done so itself."""
    try:
        owner = msgspec.json.decode(lock_path.read_bytes(), type=Owner)
    except (OSError, msgspec.MsgspecError):
        return  # it had none, or had left in order
    if owner.pid == pid:
        shutil.rmtree(owner.temp_dir, ignore_errors=True)


def _wait(condition: Callable[[], bool], deadline_s: float) -> bool:
    while not condition():
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(PREDECESSOR_POLL_S)
    return True


class RunLock:
    """The lock of one run; held from `take` to the process's end or `release`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def take(self, temp_dir: Path, *, wait_s: float = PREDECESSOR_WAIT_S) -> None:
        """Hold the lock, with every process of a former holder gone and its temporary files removed.

        Raises PredecessorError when one does not go within `wait_s`, OSError when the file cannot be made.
        """
        deadline = time.monotonic() + wait_s
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not self._try_lock():
            holder = self._owner()
            if holder is not None and started_ticks(holder.pid) == holder.started:
                log.warning("predecessor_killed pid=%d", holder.pid)
                kill(holder.pid)
            if not _wait(self._try_lock, deadline):
                raise PredecessorError(f"{self.path} is still locked by {holder}: end that process")
        self._clean_up_after(self._owner(), deadline)
        self._sign(temp_dir)

    def _sign(self, temp_dir: Path) -> None:
        owner = Owner(os.getpid(), started_ticks(os.getpid()) or 0, str(temp_dir))
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, msgspec.json.encode(owner), 0)

    def hold_on(self, temp_dir: Path) -> None:
        """Take the lock anew where somebody has removed its file: the next worker must find this one. Raises OSError,
        BlockingIOError when another worker has it."""
        try:
            if os.path.samestat(self.path.stat(), os.fstat(self._fd)):
                return
        except FileNotFoundError:
            pass
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        before, self._fd = self._fd, os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.close(before)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._sign(temp_dir)

    def release(self) -> None:
        """Let the next worker in; nothing of this one is left."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _owner(self) -> Owner | None:
        written = os.pread(self._fd, 4096, 0)
        try:
            return msgspec.json.decode(written, type=Owner) if written else None
        except msgspec.MsgspecError:
            return None  # killed between truncation and writing: it had started nothing yet

    def _clean_up_after(self, former: Owner | None, deadline_s: float) -> None:
        if former is None or former.pid == os.getpid():
            return
        for pid in cores_of(former.pid):
            log.warning("predecessor_core_killed pid=%d worker=%d", pid, former.pid)
            kill(pid)
        if not _wait(lambda: not cores_of(former.pid), deadline_s):
            raise PredecessorError(f"wandb-core {cores_of(former.pid)} of a former worker does not end: kill it")
        shutil.rmtree(former.temp_dir, ignore_errors=True)
