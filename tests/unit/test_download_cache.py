"""The daemon's cache of downloaded versions at its cap."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Any

from telemetryd.runs.download_cache import TOKEN_NAME, Download, DownloadCache, key_of

SIZE = 100_000


class Entry:
    """What wandb has of a file; `may_end` lets its download come to its end."""

    def __init__(self) -> None:
        self.path, self.size, self.digest, self.extra = "file", SIZE, "d", {}
        self.ref = "s3://bucket/file"  # its digest is the storage's business
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.may_end.set()

    def download(self, root: str, skip_cache: bool) -> str:
        self.begun.set()
        assert self.may_end.wait(30)
        Path(root).mkdir()
        (Path(root) / "file").write_bytes(bytes(SIZE))
        return f"{root}/file"


class Version:
    """A version of one file."""

    def __init__(self, number: int) -> None:
        self.id, self.digest = f"v{number}", "d"
        self.entry = Entry()
        self.manifest: Any = self
        self.entries = {"file": self.entry}


class Rig:
    """A cache with room for two and a half versions."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = DownloadCache(root, 5 * SIZE // 2)

    def fill(self, version: Version, *, aged: bool = True) -> Download:
        """Download it; `aged`: as if that had been a while ago, the ones before it longer."""
        download = Download(key_of(version), self.root / key_of(version))
        self.cache.fill(version, download, lambda entry: True, files=True)
        assert download.state == "ready", download.error
        if aged:
            self._clock = getattr(self, "_clock", 0) + 1
            os.utime(download.folder, (self._clock, self._clock))
        return download

    def has(self, *versions: Version) -> list[bool]:
        return [(self.root / key_of(version) / "0").exists() for version in versions]


def test_at_the_cap_the_version_goes_that_was_asked_for_longest_ago(tmp_path: Path) -> None:
    rig, versions = Rig(tmp_path), [Version(number) for number in range(3)]
    for version in versions:
        rig.fill(version)
    assert rig.has(*versions) == [False, True, True]


def test_what_was_asked_for_just_now_stays(tmp_path: Path) -> None:
    rig, versions = Rig(tmp_path), [Version(number) for number in range(3)]
    for version in versions:
        rig.fill(version, aged=False)
    assert rig.has(*versions) == [True, True, True]


def test_what_a_process_copies_from_stays_however_long_that_takes(tmp_path: Path) -> None:
    rig, versions = Rig(tmp_path), [Version(number) for number in range(4)]
    first = rig.fill(versions[0])
    with (first.folder / TOKEN_NAME).open("rb") as token:
        fcntl.flock(token, fcntl.LOCK_SH)
        rig.fill(versions[1])
        rig.fill(versions[2])
        assert rig.has(*versions) == [True, False, True, False]
    rig.fill(versions[3])
    assert rig.has(*versions) == [False, False, True, True], "and then it goes"


def test_what_is_being_downloaded_stays_however_long_that_takes(tmp_path: Path) -> None:
    rig, versions = Rig(tmp_path), [Version(number) for number in range(3)]
    versions[0].entry.may_end.clear()
    slow = threading.Thread(target=rig.fill, args=[versions[0]])
    slow.start()
    try:
        assert versions[0].entry.begun.wait(30)
        os.utime(tmp_path / key_of(versions[0]), (1, 1))
        rig.fill(versions[1])
        rig.fill(versions[2])
        assert (tmp_path / key_of(versions[0])).exists()
    finally:
        versions[0].entry.may_end.set()
        slow.join()
    assert rig.has(versions[0]) == [True]
