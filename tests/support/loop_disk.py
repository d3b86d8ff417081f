"""A file system of a chosen kind, in a file that a loop device mounts for the block; and what it says of extents."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import wait_until
from tests.support.requirements import require

SIZE_BYTES = 400_000_000
"""mkfs.xfs refuses less than 300 MB; the file is sparse."""

MKFS = {
    "xfs": ("mkfs.xfs", "-q", "-m", "reflink=1"),
    "btrfs": ("mkfs.btrfs", "-q"),
}
"""File systems that share blocks. Debian packs these as xfsprogs and btrfs-progs."""

_FIEMAP = 0xC020660B
_FIEMAP_SYNC = 0x1
_FIEMAP_SHARED = 0x2000
_HEAD = struct.Struct("=QQLLLL")
_EXTENT = struct.Struct("=QQQQQLLLL")
_EXTENTS_MAX = 512
_TIMEOUT_S = 60


class Extent(NamedTuple):
    """A piece of a file, in bytes: where in the file, where on the disk, and whether another file has it as well."""

    logical: int
    physical: int
    length: int
    shared: bool


@contextlib.contextmanager
def mounted(kind: str, folder: Path) -> Iterator[Path]:
    """An empty file system of a kind of MKFS, below `folder`. Skips the test where this machine cannot mount one."""
    make = shutil.which(MKFS[kind][0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    require(os.geteuid() == 0, "root mounts a file system")
    require(make, f"{MKFS[kind][0]} makes one")
    assert make is not None
    image, place = folder / f"{kind}.image", folder / kind
    place.mkdir()
    with image.open("wb") as stream:
        stream.truncate(SIZE_BYTES)
    try:
        _run(make, *MKFS[kind][1:], image)
        mount = _run("mount", "-o", "loop", "-t", kind, image, place, may_fail=True)
        require(mount.returncode == 0, f"mounting {kind} by a loop device works: {mount.stderr.strip()}")
        try:
            yield place
        finally:
            _unmount(place)
    finally:
        image.unlink()


def _unmount(place: Path) -> None:
    """Unmount; what was killed a moment ago may still hold a file. Lazily, and as an error, when something stays."""
    try:
        wait_until(lambda: _run("umount", place, may_fail=True).returncode == 0, 20, f"{place} not busy", poll_s=0.2)
    except AssertionError:
        _run("umount", "-l", place, may_fail=True)
        raise


def _run(*command: str | Path, may_fail: bool = False) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    assert may_fail or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done


def extents(path: Path) -> list[Extent]:
    """Where a file's blocks lie, by the ioctl FIEMAP (linux/fiemap.h), after they have been written."""
    buffer = array.array("B", bytes(_HEAD.size + _EXTENTS_MAX * _EXTENT.size))
    _HEAD.pack_into(buffer, 0, 0, 2**64 - 1, _FIEMAP_SYNC, 0, _EXTENTS_MAX, 0)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _FIEMAP, buffer)
    finally:
        os.close(descriptor)
    found = []
    for number in range(_HEAD.unpack_from(buffer)[3]):
        logical, physical, length, _, _, flags, *_ = _EXTENT.unpack_from(buffer, _HEAD.size + number * _EXTENT.size)
        found.append(Extent(logical, physical, length, bool(flags & _FIEMAP_SHARED)))
    return found


def used_bytes(place: Path) -> int:
    """What is taken of the file system's blocks, everything written first."""
    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _syncfs(descriptor)
        found = os.fstatvfs(descriptor)
    finally:
        os.close(descriptor)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def _syncfs(descriptor: int) -> None:
    """syncfs(2), which Python has no name for; os.sync would write every disk of this machine."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
        raise OSError(ctypes.get_errno(), "syncfs")
