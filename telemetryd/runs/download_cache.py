"""Downloaded versions in the daemon's cache, once each, checked, and up to a cap.

    <cache>/<key>/token               random; who reads it here has this disk
                  manifest.msgpack    protocol.artifacts.Manifest: every entry, with W&B's digest
                  0, 1 …              the content of entries that were asked for, by their number
                  <n>.partial.*       being downloaded

Invariants
* The key is made of the version's id and digest, so the content of a key never changes.
* A file gets its name after its digest was found right; what was left partial is downloaded anew.
* What nobody asked for longest goes first at the cap; never what is being downloaded, or copied from by a client, which
  then holds a shared lock on the token, nor what was asked for or read within DOWNLOAD_BUSY_S.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from client.protocol.artifacts import MANIFEST_NAME, Entry, Manifest, encode_manifest
from telemetryd.inbox.content import size_of
from telemetryd.runs.limits import DOWNLOAD_BUSY_S, DOWNLOAD_TRIES

log = logging.getLogger(__name__)

TOKEN_NAME = "token"


class Download:
    """One version being made ready: `state` "running", "ready" or "failed" (with `error`)."""

    def __init__(self, key: str, folder: Path) -> None:
        self.key = key
        self.folder = folder
        self.state = "running"
        self.error = ""
        self.value_error = False
        self.done_bytes = 0
        self.total_bytes = 0

    def answer(self) -> dict[str, Any]:
        """What the client is told."""
        if self.state == "failed":
            return {"error": self.error, "kind": "value" if self.value_error else "refused"}
        if self.state == "running":
            return {"state": "running", "done_bytes": self.done_bytes, "total_bytes": self.total_bytes}
        return {
            "state": "ready",
            "key": self.key,
            "folder": str(self.folder),
            "token": (self.folder / TOKEN_NAME).read_text(),
            "manifest_bytes": (self.folder / MANIFEST_NAME).stat().st_size,
        }


def key_of(artifact: Any) -> str:
    """The folder of a version: 32 hexadecimal digits."""
    return hashlib.sha256(f"{artifact.id}:{artifact.digest}".encode()).hexdigest()[:32]


class DownloadCache:
    """See the module's head. Thread-safe; one process of a daemon uses it."""

    def __init__(self, root: Path, max_bytes: int, threads: int = 8) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root = root
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._keys: dict[str, threading.Lock] = {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="download")
        for partial in root.glob("*/*.partial.*"):
            shutil.rmtree(partial, ignore_errors=True)

    def fill(self, artifact: Any, download: Download, wanted: Callable[[Entry], bool], *, files: bool) -> None:
        """Make a version ready: its manifest and, with `files`, the content of what is wanted. Never raises."""
        with self._lock:
            lock = self._keys.setdefault(download.key, threading.Lock())
        try:
            with lock:
                self._fill(artifact, download, wanted if files else lambda entry: False)
            download.state = "ready"
        except ValueError as error:
            download.value_error, download.error, download.state = True, str(error), "failed"
        except Exception as error:  # noqa: BLE001 - whatever it was, the client is told
            log.warning("download_failed key=%s reason=%r", download.key, str(error))
            download.error, download.state = f"{type(error).__name__}: {error}", "failed"

    def _fill(self, artifact: Any, download: Download, wanted: Callable[[Entry], bool]) -> None:
        folder = download.folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.utime(folder)
        originals = [artifact.manifest.entries[path] for path in sorted(artifact.manifest.entries)]
        entries = [_entry(original) for original in originals]
        missing = [
            (number, original)
            for number, original in enumerate(originals)
            if entries[number].file and wanted(entries[number]) and not self._is_there(folder, number, original)
        ]
        download.total_bytes = sum(original.size or 0 for _, original in missing)
        self._make_room(download.total_bytes, folder)
        jobs = [self._pool.submit(self._one, artifact, download, number, original) for number, original in missing]
        wait(jobs)
        for job in jobs:
            job.result()
        if not (folder / TOKEN_NAME).exists():
            _write(folder / TOKEN_NAME, secrets.token_hex(16).encode())
        if not (folder / MANIFEST_NAME).exists():
            _write(folder / MANIFEST_NAME, encode_manifest(Manifest(download.key, entries)))

    def _is_there(self, folder: Path, number: int, original: Any) -> bool:
        try:
            size = (folder / str(number)).stat().st_size
        except FileNotFoundError:
            return False
        return original.size is None or size == original.size

    def _one(self, artifact: Any, download: Download, number: int, original: Any) -> None:
        partial = download.folder / f"{number}.partial.{secrets.token_hex(4)}"
        original._parent_artifact = artifact
        try:
            for attempt in range(1, DOWNLOAD_TRIES + 1):
                path = Path(original.download(root=str(partial), skip_cache=True))
                if original.ref is not None or _digest(path, original) == original.digest:
                    break
                shutil.rmtree(partial, ignore_errors=True)
                if attempt == DOWNLOAD_TRIES:
                    raise ValueError(f"{original.path!r} came with another digest than W&B's, {attempt} times")
            path.replace(download.folder / str(number))
            download.done_bytes += original.size or 0
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _make_room(self, needed_bytes: int, keep: Path) -> None:
        """Remove what was not asked for longest. A version larger than the cap is fetched all the same, alone."""
        folders = sorted(
            (folder for folder in self._root.iterdir() if folder.is_dir() and folder != keep),
            key=lambda folder: folder.stat().st_mtime,
        )
        used = size_of(self._root)
        for folder in folders:
            if used + needed_bytes <= self._max_bytes:
                return
            if time.time() - folder.stat().st_mtime < DOWNLOAD_BUSY_S:
                return
            with self._left_alone(folder) as is_free:
                if is_free:
                    used -= size_of(folder)
                    shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _left_alone(self, folder: Path) -> Iterator[bool]:
        """Whether a version is neither being downloaded nor copied from, and stays so for the block."""
        with self._lock:
            filling = self._keys.setdefault(folder.name, threading.Lock())
        if not filling.acquire(blocking=False):
            yield False
            return
        try:
            with contextlib.ExitStack() as opened:
                yield _is_unlocked(folder, opened)
        finally:
            filling.release()

    def folder(self, key: str) -> Path:
        """Where a version lies."""
        return self._root / key


def _is_unlocked(folder: Path, opened: contextlib.ExitStack) -> bool:
    """Whether no client has the lock of a version's token, which then is taken until `opened` closes."""
    try:
        token = opened.enter_context((folder / TOKEN_NAME).open("rb"))
    except FileNotFoundError:
        return True  # it was never ready
    try:
        fcntl.flock(token, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _entry(original: Any) -> Entry:
    """An entry for the client. A `file://` reference is read by whoever asks, on its own machine."""
    ref = original.ref
    is_local = ref is not None and urlsplit(str(ref)).scheme == "file"
    return Entry(
        str(original.path),
        file=not is_local,
        size_bytes=int(original.size or 0),
        ref=None if ref is None else str(ref),
        digest=str(original.digest),
        extra=dict(original.extra or {}),
    )


def _digest(path: Path, original: Any) -> str:
    from wandb.sdk.lib.hashutil import md5_file_b64, xxh128_file_b64

    algorithm = str(original.extra.get("alg", "MD5"))
    return str(xxh128_file_b64(str(path)) if algorithm == "XXH128" else md5_file_b64(str(path)))


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    partial.write_bytes(content)
    partial.replace(path)
