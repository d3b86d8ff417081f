"""How a file gets into an artifact: what it was at the call, or a loud error; never something in between."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

import pytest

from client.artifacts import sources
from client.artifacts.sources import Source, SourceChangedError, settle
from client.limits import ARTIFACT_INLINE_BYTES

LARGE = ARTIFACT_INLINE_BYTES + 1


def captured(path: Path, policy: str = "mutable", left: int = 1 << 20) -> Source:
    source = Source(str(path), policy)
    source.capture(left)
    settle([source])
    return source


def frozen(source: Source, target: Path) -> str:
    try:
        return source.freeze(str(target), lambda size: None)
    finally:
        source.close()


def test_a_small_file_is_read_at_the_call_and_may_change_at_once(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"before")
    source = captured(file)
    file.write_bytes(b"after!")
    assert frozen(source, tmp_path / "copy") == "read"
    assert (tmp_path / "copy").read_bytes() == b"before"


def test_a_large_file_is_copied_whole(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(os.urandom(LARGE))
    steps: list[int] = []
    source = captured(file)
    how = source.freeze(str(tmp_path / "copy"), steps.append)
    source.close()
    assert how in ("copy", "reflink")
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    assert sum(steps) == LARGE


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("change", ["same_size", "longer", "shorter", "mtime_put_back"])
def test_a_file_that_is_written_to_is_refused_and_leaves_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, change: str
) -> None:
    file = tmp_path / "f"
    file.write_bytes(bytes(LARGE))
    times = file.stat()

    def write() -> None:
        with file.open("r+b") as stream:
            if change == "longer":
                stream.seek(0, os.SEEK_END)
            elif change == "shorter":
                stream.truncate(10)
            stream.write(b"x")
        if change == "mtime_put_back":
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    source = captured(file)
    if when == "before":
        write()
    else:
        monkeypatch.setattr(sources, "_reflink", lambda source, target: False)
        copy = sources._copy
        monkeypatch.setattr(sources, "_copy", lambda *a: (copy(*a), write()))
    with pytest.raises(SourceChangedError, match="source changed"):
        frozen(source, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("gone", ["removed", "replaced"])
def test_a_file_that_is_removed_or_replaced_is_taken_as_it_was(tmp_path: Path, gone: str) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"a" * LARGE)
    source = Source(str(file))
    if gone == "removed":
        file.unlink()
    else:
        (tmp_path / "new").write_bytes(b"b" * LARGE)
        (tmp_path / "new").rename(file)
    source.capture(0)
    settle([source])
    frozen(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"a" * LARGE


def test_a_hardlink_is_made_only_where_the_caller_promises_not_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_reflink", lambda source, target: False)
    file = tmp_path / "f"
    file.write_bytes(bytes(LARGE))
    assert frozen(captured(file), tmp_path / "copy") == "copy"
    assert frozen(captured(file, "immutable"), tmp_path / "link") == "hardlink"
    assert (tmp_path / "link").stat().st_ino == file.stat().st_ino != (tmp_path / "copy").stat().st_ino
    file.unlink()
    assert (tmp_path / "link").stat().st_size == LARGE


def test_without_copy_file_range_the_bytes_are_copied_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*arguments: object) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(sources, "_reflink", lambda source, target: False)
    monkeypatch.setattr(os, "copy_file_range", nowhere)
    file = tmp_path / "f"
    file.write_bytes(os.urandom(LARGE))
    assert frozen(captured(file), tmp_path / "copy") == "copy"
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EXDEV, errno.EAGAIN, errno.EBADF])
def test_a_file_that_cannot_be_cloned_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """ZFS says EAGAIN of a file that was written a moment ago."""

    def refused(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "ioctl", refused)
    file = tmp_path / "f"
    file.write_bytes(os.urandom(LARGE))
    assert frozen(captured(file), tmp_path / "copy") == "copy"
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()


def test_a_clone_that_ends_early_is_made_whole_by_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ZFS before 2.2.3 reports as done what ends at the first block that is not on the disk."""
    file = tmp_path / "f"
    file.write_bytes(os.urandom(LARGE))
    monkeypatch.setattr(fcntl, "ioctl", lambda target, request, source: os.write(target, os.pread(source, 1000, 0)))
    assert frozen(captured(file), tmp_path / "copy") == "copy"
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()


def test_a_disk_that_fails_while_cloning_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fcntl, "ioctl", full)
    file = tmp_path / "f"
    file.write_bytes(bytes(LARGE))
    with pytest.raises(OSError, match="No space"):
        frozen(captured(file), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_after_the_call_every_write_gives_the_file_another_mtime(tmp_path: Path) -> None:
    """Otherwise a write within the same tick of the file system's clock could not be told."""
    file = tmp_path / "f"
    for _ in range(50):
        file.write_bytes(bytes(LARGE))
        source = captured(file)
        before = file.stat().st_mtime_ns
        with file.open("r+b") as stream:
            stream.write(b"x")
        assert file.stat().st_mtime_ns > before
        source.close()


def test_a_full_disk_leaves_no_piece_of_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: int, target: int, step: object) -> None:
        os.write(target, b"some")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sources, "_reflink", lambda source, target: False)
    monkeypatch.setattr(sources, "_copy", full)
    file = tmp_path / "f"
    file.write_bytes(bytes(LARGE))
    with pytest.raises(OSError, match="No space"):
        frozen(captured(file), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_the_wait_for_the_clock_takes_a_tick_at_most(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(bytes(LARGE))
    os.utime(file, ns=(0, time.time_ns() + 10**12))  # a file of the future must not hold the call up
    source = Source(str(file))
    source.capture(0)
    begin = time.monotonic()
    settle([source])
    assert time.monotonic() - begin < 1
    source.close()
