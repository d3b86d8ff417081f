"""A run's artifacts on their way: one thread stages their content, another sees it to the daemon and hears what becomes
of it. Both begin with the first artifact.

Invariants
* `log` makes no copy: it notes what each file is (sources.py), journals the Artifact record and hands over.
* The Staged record is journaled after the content's folder has its final name, or with the reason why it never gets it.
* The owner's lock on the session's folder is held as long as this process may stage; a daemon that can take it knows
  that a `.partial` folder will never be finished.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import threading
import time
from pathlib import Path

import msgspec

from client import guard
from client.artifacts import sources
from client.artifacts.courier import Courier
from client.artifacts.entries import ArtifactManifestEntry
from client.artifacts.upload import Upload
from client.digests import sha256
from client.journal.folder import OwnerLock
from client.limits import ARTIFACT_INLINE_TOTAL_BYTES
from client.payload import Payload
from client.protocol import records
from client.protocol.artifacts import MANIFEST_NAME, PARTIAL_SUFFIX, Entry, Manifest, encode_manifest
from client.stream import Stream
from client.tokens import token_hex

_NICE = 10
"""Staging gives way to training where both want the same core."""


class StagingError(Exception):
    """The content cannot be staged; the message says why."""


class Job:
    """One artifact to be staged: its upload and its entries."""

    def __init__(self, upload: Upload, entries: list[ArtifactManifestEntry]) -> None:
        self.upload = upload
        self.entries = entries

    @property
    def size_bytes(self) -> int:
        """Bytes of all local files, and of what media objects hold."""
        files = sum(entry.source.size_bytes for entry in self.entries if entry.source is not None)
        blobs = [blob for entry in self.entries if entry.value is not None for blob in entry.value.blobs]
        return files + sum(blob.size for blob in blobs)


class Line:
    """See the module's head. `max_bytes` bounds what lies staged."""

    def __init__(self, stream: Stream, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._session = stream.hello.session
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._waiting = 0
        self._idle = threading.Condition()
        self._stop = threading.Event()
        self._lock: OwnerLock | None = None
        self._thread: threading.Thread | None = None
        self.uploads: list[Upload] = []
        self._ended: dict[str, int] = {}
        self.courier = Courier(stream)

    def log(self, record: records.Artifact, upload: Upload, entries: list[ArtifactManifestEntry]) -> None:
        """Begin: the content is what it is now. Raises ValueError for a file that is gone."""
        left = ARTIFACT_INLINE_TOTAL_BYTES
        files = [entry.source for entry in entries if entry.source is not None]
        for source in files:
            try:
                left -= source.capture(left)
            except OSError as error:
                raise ValueError(f"{source.path!r} cannot be read any more ({error.strerror}): add it again") from error
        sources.settle(files)
        blobs = 0
        for entry in entries:
            if entry.value is not None:
                entry.value.capture(blobs + 1)
                blobs += len(entry.value.blobs)
        self._announce(record, upload)
        if upload.done:
            return
        if self._stream.stage_root is None:  # a recorded run of tests: nothing is staged
            upload.move("recorded")
            return
        with self._idle:
            self._waiting += 1
        self._jobs.put(Job(upload, entries))
        self._start()

    def ask(self, record: records.Artifact, upload: Upload) -> None:
        """Begin something without content: a link or a use."""
        self._announce(record, upload)
        if not upload.done:
            upload.move("staged" if self._stream.stage_root is not None else "recorded")
            self.courier.watch(upload, None)

    def tally(self) -> dict[str, int]:
        """How many came to which end; "pending" are the others."""
        counts = dict(self._ended)
        for upload in self.uploads:
            state = upload.state if upload.done else "pending"
            counts[state] = counts.get(state, 0) + 1
        return counts

    def _announce(self, record: records.Artifact, upload: Upload) -> None:
        for known in [known for known in self.uploads if known.done]:
            self._ended[known.state] = self._ended.get(known.state, 0) + 1
            self.uploads.remove(known)
        if record.kind != "use":
            self.uploads.append(upload)
        if not self._stream.record(record):
            upload.move("failed", error="the journal took no record of it: it is at its cap, or closed")

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="telemetryd-staging", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # at the limit of threads, or while the interpreter goes down
                guard.swallow("artifact.thread", error)
                return
            self._thread = thread

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while (job := self._jobs.get()) is not None:
            self._take(job)

    def _take(self, job: Job) -> None:
        try:
            self._stage(job)
        except (StagingError, sources.SourceChangedError) as error:
            self._fail(job, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it was, the handle must hear of it
            self._fail(job, f"it cannot be staged: {error}")
        finally:
            for entry in job.entries:
                if entry.source is not None:
                    entry.source.close()
            job.entries = []
            with self._idle:
                self._waiting -= 1
                self._idle.notify_all()

    def _fail(self, job: Job, why: str) -> None:
        self._stream.record(records.Staged(job.upload.id, error=why))
        job.upload.move("failed", error=why)

    def _stage(self, job: Job) -> None:
        upload = job.upload
        if self._stop.is_set():
            raise StagingError("the run ended before it was staged")
        upload.total_bytes = job.size_bytes
        upload.move("staging")
        folder = self._folder()
        self._check_room(folder.parent, job.size_bytes)
        partial = folder / f"{upload.id}{PARTIAL_SUFFIX}"
        partial.mkdir(mode=0o700)
        try:
            manifest = encode_manifest(self._fill(job, str(partial)))
            (partial / MANIFEST_NAME).write_bytes(manifest)
            partial.rename(folder / upload.id)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        digest = sha256(manifest).hex()
        files = sum(entry.source is not None for entry in job.entries)
        if not self._stream.record(records.Staged(upload.id, digest, job.size_bytes, files)):
            shutil.rmtree(folder / upload.id, ignore_errors=True)
            upload.move("failed", error="the journal took no record of it: it is at its cap, or closed")
            return
        upload.move("staged")
        self.courier.watch(upload, folder / upload.id)

    def _fill(self, job: Job, partial: str) -> Manifest:
        def step(size_bytes: int) -> None:
            job.upload.advance(size_bytes)
            if self._stop.is_set():
                raise StagingError("the run ended while it was being staged")

        manifest = Manifest(token_hex(16), [])
        entries = manifest.entries
        blobs: list[Payload] = []
        for number, entry in enumerate(job.entries):
            if entry.source is not None:
                entry.source.freeze(f"{partial}/{number}", step)
                entries.append(Entry(entry.path, True, entry.source.size_bytes))
            elif entry.value is not None:
                entries.append(Entry(entry.value.name, value=msgspec.Raw(entry.value.encoded)))
                blobs += entry.value.blobs
            else:
                checksum, max_objects = entry.resolve or (True, None)
                digest = None if entry.resolve else entry.digest
                path = entry.path if entry.is_named else ""
                size = entry.size or 0
                entries.append(Entry(path, False, size, entry.ref, digest, checksum, max_objects, extra=entry.extra))
        manifest.blobs = [payload.size for payload in blobs]
        for index, payload in enumerate(blobs):
            Path(partial, str(manifest.blob_file(index + 1))).write_bytes(payload.view)
            step(0)
        return manifest

    def _folder(self) -> Path:
        """The session's folder of staged content, with its lock held."""
        root = self._stream.stage_root
        assert root is not None
        folder = root / self._session
        if self._lock is None or not self._lock.is_in(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = OwnerLock.take(folder)
        return folder

    def _check_room(self, root: Path, size_bytes: int) -> None:
        staged = sum(file.stat().st_size for file in root.glob("*/*/*") if file.is_file())
        if staged + size_bytes > self._max_bytes:
            raise StagingError(
                f"staging is full: {staged} bytes wait for W&B, and this has {size_bytes}; the cap is"
                f" {self._max_bytes} (TELEMETRYD_ARTIFACT_MAX_BYTES)"
            )

    # The end

    def settle(self, timeout_s: float) -> bool:
        """Wait until everything is staged, and with the daemon where it has no disk in common; False when it is not.

        Without a daemon only staging is waited for.
        """
        end_s = time.monotonic() + timeout_s
        if self._thread is None and self._waiting:  # the interpreter gave no thread
            while not self._jobs.empty() and (job := self._jobs.get()) is not None:
                self._take(job)
        with self._idle:
            staged = self._idle.wait_for(lambda: self._waiting == 0, max(0.0, timeout_s))
        return self.courier.settle(max(0.0, end_s - time.monotonic())) and staged

    def close(self) -> None:
        """End both threads. What is not staged by now fails; what is goes on with the daemon."""
        self._stop.set()
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join()
        self.courier.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None
            self._remove_empty()

    def _remove_empty(self) -> None:
        root = self._stream.stage_root
        folder = root / self._session if root is not None else None
        if folder is not None and folder.exists() and all(entry.is_file() for entry in folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)

    def orphan(self) -> None:
        """In a forked child: the threads and the lock are the parent's."""
        self._thread = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        for upload in self.uploads:
            upload.orphan()
        self.courier.orphan()
