"""Where the content of artifacts lies, and whether it is whole: below the spool (the client's disk is ours), or below
the state folder (it came over the wire).

Invariants
* No path comes from a client. Folders are called by a session and an artifact, both hexadecimal; files by numbers.
* Links are not followed, and what is read belongs to the same user as its session's folder: who can put a file there
  can read it anyway, so nobody reads through the daemon what they may not.
* Over ipc that user is the one who speaks for the session, as the kernel tells (peers.py). What is another's in the
  spool is not there for them: their process reads it itself, if it may, and sends it, as from another machine.
* Content of another user than the daemon's is not used where it lies, since its owner could put another file in its
  place meanwhile: it is copied first, and the owner of each open file looked at.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from client.protocol.artifacts import MANIFEST_NAME, PARTIAL_SUFFIX, ROOT_NAME, Manifest, decode_manifest, folder
from telemetryd.inbox import peers
from telemetryd.limits import ARTIFACT_COPY_STEP_BYTES, ARTIFACT_MANIFEST_MAX_BYTES

DOWNLOADS_NAME = "downloads"
"""The folder of downloaded versions within the daemon's state."""

WANDB_CACHE = Path("wandb", "cache")
"""wandb's own cache within the daemon's state, where WANDB_CACHE_DIR says nothing else."""


class ContentError(Exception):
    """What is there is not what the client staged, or must not be read; the message says why."""


class PeerError(ContentError):
    """What lies in a session's folder belongs to another user than the folder."""


@dataclass(frozen=True)
class Content:
    """Whole content: its folder, and what it holds. `place` is "spool" or "wire"; `is_foreign`: to be taken over."""

    folder: Path
    manifest: Manifest
    place: str
    is_foreign: bool = False

    def file(self, number: int) -> Path:
        """The file of an entry."""
        return self.folder / str(number)


class Places:
    """The two roots. Only `take_over` writes."""

    def __init__(self, spool_dir: Path | None, state_dir: Path, max_bytes: int | None = None) -> None:
        """`spool_dir` None: nothing is looked for there. `max_bytes` bounds what `take_over` copies; None: no cap."""
        self.spool_root = None if spool_dir is None else spool_dir / ROOT_NAME
        self.wire_root = state_dir / ROOT_NAME
        self._max_bytes = max_bytes
        self._own_uid = os.geteuid()

    def find(self, session: str, artifact: str, digest: str, peer_uid: int | None = None) -> Content | None:
        """The content whose manifest has this SHA-256; None while it is not there. `peer_uid`: whose session it is.

        Raises ContentError, OSError.
        """
        is_ours = peers.is_ours(peer_uid, self._own_uid)
        spool = [] if self.spool_root is None or self.refusal(session, peer_uid) else [(self.spool_root, "spool")]
        wire = [(self.wire_root, "wire")]
        for root, place in spool + wire if is_ours else wire + spool:  # what was taken over lies where the wire's does
            where = folder(root, session, artifact)
            try:
                if not where.is_dir() or where.is_symlink():
                    continue
                manifest = whole(where, digest)
            except PermissionError:
                if place == "spool":  # a spool that the daemon may not enter: content comes over the wire
                    continue
                raise
            if manifest is not None:
                return Content(where, manifest, place, place == "spool" and not is_ours)
        return None

    def refusal(self, session: str, peer_uid: int | None) -> str | None:
        """Why what the session has in the spool is not read for this user; None where nothing is against it."""
        try:
            owner = (self.spool_root / session).lstat().st_uid if self.spool_root is not None else None
        except OSError:
            return None
        if owner is None or peers.may_own(peer_uid, owner):
            return None
        who = "several users have" if peer_uid == peers.MIXED else f"user {peer_uid} has"
        return f"its staged content belongs to user {owner}, and {who} spoken for the session"

    def take_over(
        self, found: Content, session: str, artifact: str, digest: str, peer_uid: int | None, step: Callable[[], None]
    ) -> Content:
        """Copy foreign content below the state folder. `step` is called now and then. Raises ContentError, OSError."""
        final = folder(self.wire_root, session, artifact)
        partial = final.with_name(f"{artifact}{PARTIAL_SUFFIX}")
        remove(final)
        sizes = found.manifest.sizes()
        self._check_room(sum(sizes.values()))
        partial.mkdir(mode=0o700, parents=True)
        try:
            for name in (MANIFEST_NAME, *map(str, sizes)):
                _copy(found.folder / name, partial / name, peer_uid, step)
            manifest = whole(partial, digest)
            if manifest is None:
                raise ContentError("the content was changed while it was being taken")
            partial.rename(final)
        except BaseException:
            remove(final)
            raise
        return Content(final, manifest, "wire")

    def _check_room(self, size_bytes: int) -> None:
        used = size_of(self.wire_root)
        if self._max_bytes is not None and used + size_bytes > self._max_bytes:
            raise ContentError(
                f"the daemon's staging is full: {size_bytes} bytes, and {used} are used of the cap of {self._max_bytes}"
                " (artifact_max_bytes)"
            )


def _copy(source: Path, target: Path, owner: int | None, step: Callable[[], None]) -> None:
    """Copy a file that belongs to `owner`, whatever its name leads to by now."""
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != owner:
            raise PeerError(f"{source.name} of its content is no file of user {owner}")
        left = found.st_size
        with target.open("xb", buffering=0) as copy:
            while left > 0 and (data := stream.read(min(left, ARTIFACT_COPY_STEP_BYTES))):
                copy.write(data)
                left -= len(data)
                step()


def whole(where: Path, digest: str) -> Manifest | None:
    """The manifest of a folder with content, when its SHA-256 is `digest`; None when it is another one or missing.

    Raises ContentError where the files are not as the manifest says, or must not be read.
    """
    owner = where.parent.lstat().st_uid
    try:
        content = _read(where / MANIFEST_NAME, owner)
    except FileNotFoundError:
        return None
    if hashlib.sha256(content).hexdigest() != digest:
        return None
    manifest = decode_manifest(content)
    for number, size_bytes in manifest.sizes().items():
        name = manifest.entries[number].path if number < len(manifest.entries) else "a media object"
        _check(where / str(number), owner, size_bytes, name)
    return manifest


def _check(path: Path, owner: int, size_bytes: int, name: str) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        raise ContentError(f"the content of {name!r} is missing") from None
    if not stat.S_ISREG(found.st_mode):
        raise ContentError(f"the content of {name!r} is no file of its own: links are not followed")
    if found.st_uid != owner:
        raise PeerError(f"the content of {name!r} belongs to another user than its folder")
    if found.st_size != size_bytes:
        raise ContentError(f"the content of {name!r} has {found.st_size} bytes, and {size_bytes} were staged")


def _read(path: Path, owner: int) -> bytes:
    descriptor = os.open(
        path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    )  # a pipe must not be waited for
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != owner:
            raise PeerError(f"{path.name} belongs to another user than its folder")
        if found.st_size > ARTIFACT_MANIFEST_MAX_BYTES:
            raise ContentError(f"a manifest of {found.st_size} bytes; the limit is {ARTIFACT_MANIFEST_MAX_BYTES}")
        return stream.read()


def size_of(root: Path) -> int:
    """Bytes of all files below a folder; what goes meanwhile counts as it is found."""
    total = 0
    for where, _, files in os.walk(root):
        for name in files:
            try:
                total += (Path(where) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total


def trim(root: Path, max_bytes: int) -> None:
    """Remove the files below a folder that were used longest ago, until the others fit."""
    found = []
    for where, _, files in os.walk(root):
        for name in files:
            path = Path(where, name)
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            found.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    over = sum(size for _, size, _ in found) - max_bytes
    for _, size, path in sorted(found, key=lambda file: file[0]):
        if over <= 0:
            return
        path.unlink(missing_ok=True)
        over -= size


def remove(where: Path) -> None:
    """Remove an artifact's folder, finished or partial."""
    for path in (where, where.with_name(f"{where.name}{PARTIAL_SUFFIX}")):
        shutil.rmtree(path, ignore_errors=True)
