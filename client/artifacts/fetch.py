"""Files of a version onto this disk: the daemon fetches and checks them, and they come from its cache.

    ask "fetch" again and again    running … ready: the cache's folder, the manifest's size, the entries that are there
    the folder can be read here    the same disk (its token says so): copy, by reflink where that can be
    it cannot                      the bytes come in chunks, a few on the way at a time, and are checked against the MD5

Invariants
* A file gets its name under `root` by one rename, whole and checked. A `root` that was not there appears by one rename.
* One process of this machine works on a `root` at a time; the next one finds what is there and checks it.
* No name and no link leads a file out of `root`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from client import places
from client.artifacts import sources
from client.artifacts.entries import ArtifactManifestEntry, b64_md5
from client.errors import CommError, NoAnswerError
from client.limits import (
    ARTIFACT_ASK_TIMEOUT_S,
    ARTIFACT_CHUNK_BYTES,
    ARTIFACT_CREDIT_CHUNKS,
    ARTIFACT_POLL_S,
    ARTIFACT_USE_TIMEOUT_S,
)
from client.protocol.artifacts import MANIFEST_NAME, Entry, decode_manifest, path_problem

if TYPE_CHECKING:
    from client.artifacts.remote import Remote
    from client.sender import Question

TOKEN_NAME = "token"
_MANIFEST = -1


class Fetch:
    """One version's files. `name` is "entity/project/name:v0"."""

    def __init__(self, remote: Remote, name: str, *, allow_missing_references: bool = False) -> None:
        self._remote = remote
        self._name = name
        self._allow_missing = allow_missing_references
        self._folder: Path | None = None
        self._key = ""

    def manifest(self, timeout_s: float) -> list[ArtifactManifestEntry]:
        """The version's entries."""
        return [
            ArtifactManifestEntry(e.path, size=e.size_bytes, ref=e.ref, digest=e.digest or "", extra=e.extra)
            for e in self._entries(self._ready(timeout_s, files=False))
        ]

    def download(self, root: str, prefix: str | None, only: str | None, timeout_s: float) -> None:
        """Put the files (those whose path begins with `prefix`, or the one called `only`) under `root`."""
        end_s = time.monotonic() + timeout_s
        with _one_at_a_time(root), contextlib.ExitStack() as held:
            left_s = max(0.0, end_s - time.monotonic())
            answer = self._ready(left_s, files=True, prefix=prefix, only=only)
            held.enter_context(self._in_use())
            self._place(root, self._wanted(answer, prefix, only), end_s)

    def _wanted(self, answer: dict[str, Any], prefix: str | None, only: str | None) -> list[tuple[int, Entry]]:
        """The entries to bring, with their numbers. Raises ValueError for a name that would leave the folder."""
        wanted = [
            (number, entry)
            for number, entry in enumerate(self._entries(answer))
            if (only is None or entry.path == only) and (prefix is None or entry.path.startswith(prefix))
        ]
        for _, entry in wanted:
            if (problem := path_problem(entry.path)) is not None:
                raise ValueError(f"the artifact's file {entry.path!r} {problem}; it is not downloaded")
        return wanted

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[None]:
        """Let the daemon keep its folder for the block, where it is one that this process reads."""
        if self._folder is None:  # over the wire: its being read keeps it
            yield
            return
        with (self._folder / TOKEN_NAME).open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH)
            yield

    def _place(self, root: str, wanted: list[tuple[int, Entry]], end_s: float) -> None:
        target = Path(root)
        fresh = not target.exists()
        work = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial") if fresh else target
        work.mkdir(parents=True, exist_ok=True)
        try:
            for number, entry in wanted:
                self._file(work, number, entry, end_s)
            if fresh:
                work.rename(target)
        finally:
            if fresh:
                shutil.rmtree(work, ignore_errors=True)

    def _file(self, root: Path, number: int, entry: Entry, end_s: float) -> None:
        path = root / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.resolve().is_relative_to(root.resolve()):
            raise ValueError(f"the artifact's file {entry.path!r} would leave {root}: a link leads out of it")
        if path.is_file() and not path.is_symlink() and entry.digest == b64_md5(str(path)):
            return
        partial = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.partial")
        try:
            if self._bring(number, entry, partial, end_s):
                partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _bring(self, number: int, entry: Entry, partial: Path, end_s: float) -> bool:
        """Put an entry's content at `partial`; False for a reference that is missing and may be."""
        if entry.ref is not None and urlparse(entry.ref).scheme == "file":
            return self._local_reference(entry, partial)
        if not entry.file:
            if self._allow_missing:
                return False
            raise CommError(f"the reference {entry.ref!r} of {self._name} could not be fetched by the daemon")
        if self._folder is not None:
            source = sources.Source(str(self._folder / str(number)))
            try:
                source.capture(0)
                source.freeze(str(partial), lambda size_bytes: None)
            finally:
                source.close()
            if partial.stat().st_size != entry.size_bytes:
                raise ValueError(f"the daemon's cache has {entry.path!r} of {self._name} in another size")
            return True
        self._receive(number, entry.size_bytes, partial, end_s)
        if entry.digest and entry.ref is None and b64_md5(str(partial)) != entry.digest:
            raise ValueError(f"{entry.path!r} of {self._name} came with another digest than W&B's")
        return True

    def _local_reference(self, entry: Entry, partial: Path) -> bool:
        """`file://`: the path is of the machine that asks, and is read here, never by the daemon."""
        path = unquote(urlparse(entry.ref or "").path)
        if not os.path.isfile(path):  # noqa: PTH113
            if self._allow_missing:
                return False
            raise ValueError(f"Local file reference: Failed to find file at path {path!r}")
        shutil.copyfile(path, partial)
        if entry.digest and b64_md5(str(partial)) != entry.digest:
            raise ValueError(f"Local file reference: Digest mismatch for path {path!r}: expected {entry.digest!r}")
        return True

    # From the daemon

    def _ready(self, timeout_s: float, **args: Any) -> dict[str, Any]:
        """Ask until the daemon has what is wanted. Raises NoAnswerError, CommError, ValueError."""
        end_s = time.monotonic() + timeout_s
        while True:
            left_s = end_s - time.monotonic()
            try:
                answer = self._remote.ask(
                    "fetch", max(0.1, min(left_s, ARTIFACT_USE_TIMEOUT_S)), name=self._name, **args
                )
            except NoAnswerError:
                if left_s <= 0:
                    raise
                time.sleep(ARTIFACT_POLL_S)  # the daemon restarts
                continue
            if answer.get("state") == "ready":
                break
            if left_s <= 0:
                raise NoAnswerError(f"{self._name} was not downloaded within {timeout_s:g} s; the daemon goes on")
            time.sleep(ARTIFACT_POLL_S)
        self._key = str(answer["key"])
        self._folder = _shared(str(answer["folder"]), str(answer["token"]))
        return answer

    def _entries(self, answer: dict[str, Any]) -> list[Entry]:
        if self._folder is not None:
            return decode_manifest((self._folder / MANIFEST_NAME).read_bytes()).entries
        content = bytearray()
        for data in self._chunks(_MANIFEST, int(answer["manifest_bytes"]), time.monotonic() + ARTIFACT_USE_TIMEOUT_S):
            content += data
        return decode_manifest(bytes(content)).entries

    def _receive(self, number: int, size: int, partial: Path, end_s: float) -> None:
        with partial.open("xb") as stream:
            for data in self._chunks(number, size, end_s):
                stream.write(data)

    def _chunks(self, number: int, size: int, end_s: float) -> Iterator[bytes]:
        """The content of a file, piece by piece; a lost answer, or a daemon that restarts, is asked again."""
        on_the_way: deque[tuple[int, Question]] = deque()
        received = asked = 0
        while received < size:
            while asked < size and len(on_the_way) < ARTIFACT_CREDIT_CHUNKS:
                length = min(ARTIFACT_CHUNK_BYTES, size - asked)
                args = {"key": self._key, "file": number, "offset": asked, "size": length}
                on_the_way.append((length, self._remote.channel.post("artifact_read", args)))
                asked += length
            length, question = on_the_way.popleft()
            try:
                answer = question.result(ARTIFACT_ASK_TIMEOUT_S)
            except NoAnswerError:
                if time.monotonic() >= end_s:
                    raise
                on_the_way.clear()
                asked = received
                continue
            if answer.get("error") or len(answer.get("data") or b"") != length:
                raise CommError(f"the daemon's cache cannot be read: {answer.get('error') or 'it was cut'}")
            received += length
            yield bytes(answer["data"])


def _shared(folder: str, token: str) -> Path | None:
    """The daemon's folder, when it is on a disk that this process can read."""
    path = Path(folder)
    try:
        return path if (path / TOKEN_NAME).read_text() == token else None
    except OSError:
        return None


@contextlib.contextmanager
def _one_at_a_time(root: str) -> Iterator[None]:
    """Hold the lock of a download folder, among the processes of this machine and user."""
    name = hashlib.sha256(os.path.realpath(root).encode()).hexdigest()[:32]
    descriptor = None
    try:
        folder = places.runtime_dir() / "downloads"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # no such folder to be had: files are placed by rename, so two processes do the same work twice
        pass
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)
