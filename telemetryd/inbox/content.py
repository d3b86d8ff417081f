"""Where the content of artifacts lies, and whether it is whole: below the spool (the client's disk is ours), or below
the state folder (it came over the wire).

Invariants
* No path comes from a client. Folders are called by a session and an artifact, both hexadecimal; files by numbers.
* Links are not followed, and what is read belongs to the same user as its session's folder: who can put a file there
  can read it anyway, so nobody reads through the daemon what they may not.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from client.protocol.artifacts import MANIFEST_NAME, PARTIAL_SUFFIX, ROOT_NAME, Manifest, decode_manifest, folder
from telemetryd.limits import ARTIFACT_MANIFEST_MAX_BYTES

DOWNLOADS_NAME = "downloads"
"""The folder of downloaded versions within the daemon's state."""

WANDB_CACHE = Path("wandb", "cache")
"""wandb's own cache within the daemon's state, where WANDB_CACHE_DIR says nothing else."""


class ContentError(Exception):
    """What is there is not what the client staged, or must not be read; the message says why."""


@dataclass(frozen=True)
class Content:
    """Whole content: its folder, and what it holds. `place` is "spool" or "wire"."""

    folder: Path
    manifest: Manifest
    place: str

    def file(self, number: int) -> Path:
        """The file of an entry."""
        return self.folder / str(number)


class Places:
    """The two roots. Reads only."""

    def __init__(self, spool_dir: Path | None, state_dir: Path) -> None:
        """`spool_dir` None: nothing is looked for there."""
        self.spool_root = None if spool_dir is None else spool_dir / ROOT_NAME
        self.wire_root = state_dir / ROOT_NAME

    def find(self, session: str, artifact: str, digest: str) -> Content | None:
        """The content whose manifest has this SHA-256; None while it is not there. Raises ContentError, OSError."""
        for root, place in ((self.spool_root, "spool"), (self.wire_root, "wire")):
            if root is None:
                continue
            where = folder(root, session, artifact)
            if where.is_dir() and not where.is_symlink():
                manifest = whole(where, digest)
                if manifest is not None:
                    return Content(where, manifest, place)
        return None


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
        raise ContentError(f"the content of {name!r} belongs to another user than its folder")
    if found.st_size != size_bytes:
        raise ContentError(f"the content of {name!r} has {found.st_size} bytes, and {size_bytes} were staged")


def _read(path: Path, owner: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != owner:
            raise ContentError(f"{path.name} belongs to another user than its folder")
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
