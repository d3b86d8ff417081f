"""Disks that fill up, turn read-only and become slow, under a folder of a world.

As root: a small tmpfs, and a read-only bind mount. Otherwise: a cap on the size of the files of the processes that
write there (RLIMIT_FSIZE: no tmpfs without root), and a folder without the permission to write. Slow: strace delays the
calls.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.processes import spawn, wait_until
from tests.support.requirements import require

IS_ROOT = os.geteuid() == 0
ATTACH_DEADLINE_S = 10.0
FILE_CALLS = (
    "openat,write,pwrite64,pwritev,writev,fsync,fdatasync,ftruncate,fallocate,rename,renameat,renameat2,unlink,unlinkat"
)
"""What a slow disk makes slow. They delay sockets and pipes too, which is more than asked for."""


@contextlib.contextmanager
def small_disk(folder: Path, size_mib: int, inodes: int = 0) -> Iterator[None]:
    """`folder` is a file system of its own with so much room, and so many inodes (0: as many as there is room for);
    without root an ordinary folder."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if not IS_ROOT:
        yield
        return
    few = f",nr_inodes={inodes}" if inodes else ""
    _mount("-t", "tmpfs", "-o", f"size={size_mib}m,mode=700{few}", "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def full(folder: Path, writers: Iterable[int]) -> Iterator[None]:
    """The small disk at `folder` has no room; without root `writers` (pids) cannot make any file grow."""
    if IS_ROOT:
        filler = folder / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(64 << 10))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        yield
        filler.unlink(missing_ok=True)
        return
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in writers}
    for pid, (_, most) in before.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, most))
    yield
    for pid, limits in before.items():
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@contextlib.contextmanager
def no_inodes(folder: Path) -> Iterator[None]:
    """The small disk at `folder` has room and no inode: files that are there grow, and no other can be made."""
    require(IS_ROOT, "only root can mount a file system with few inodes")
    fillers = folder / "fillers"
    fillers.mkdir()
    number = 0
    try:
        while True:
            (fillers / str(number)).touch()
            number += 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    yield
    shutil.rmtree(fillers, ignore_errors=True)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing can be made, renamed or removed in `folder`, nor opened to write there."""
    if IS_ROOT:
        aside = Path(f"{folder}-read-only")  # made read-only where nobody can open anything to write in between
        aside.mkdir()
        with contextlib.ExitStack() as stack:
            for step in (("--bind", folder, aside), ("-o", "remount,bind,ro", aside), ("--bind", aside, folder)):
                _mount(*map(str, step))
                if step[0] == "--bind":
                    stack.callback(subprocess.run, ["umount", "--lazy", str(step[2])], check=True)
            assert _refuses_writing(folder), f"{folder} was to be read-only"
            yield
        return
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for one in folders:
        one.chmod(0o500)
    try:
        yield
    finally:
        for one in folders:
            one.chmod(0o700)


@contextlib.contextmanager
def slow(pids: Iterable[int], folder: Path, delay_ms: float) -> Iterator[None]:
    """Each file call of these processes takes so much longer. Skips without strace and the right to use it."""
    require(shutil.which("strace"), "strace, which makes file calls slow, is not installed")
    log = folder / "strace.log"
    inject = f"inject={FILE_CALLS}:delay_enter={int(delay_ms * 1000)}"
    command = ["strace", "-f", "-o", str(log), "-e", f"trace={FILE_CALLS}", "-e", inject]
    spawned = spawn([*command, *(f"--attach={pid}" for pid in pids)], folder)
    try:
        wait_until(lambda: "attached" in spawned.err() or not spawned.running(), ATTACH_DEADLINE_S, spawned.told)
        require(spawned.running(), f"strace may not attach here: {spawned.err()}")
        yield
    finally:
        if spawned.running():
            spawned.process.send_signal(signal.SIGINT)
        spawned.wait(ATTACH_DEADLINE_S)
    assert log.stat().st_size > 0, "nothing was slowed: these processes made no file call"


def remove(folder: Path) -> None:
    """The folder with all that is in it, at once, though others write there."""
    gone = Path(f"{folder}-gone")
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _refuses_writing(folder: Path) -> bool:
    try:
        (folder / "probe").touch()
    except OSError as error:
        return error.errno == errno.EROFS
    return False


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"root may not mount here: {done.stderr.strip()}")
