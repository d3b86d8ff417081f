"""An artifact's content beside the stream of records: the manifest, and how a folder of staged content looks.

    <root>/<session>/owner.lock          flocked by the training process for its life
    <root>/<session>/<artifact>/manifest.msgpack
                                0, 1 …   the content of the entries, by their number in the manifest
    <root>/<session>/<artifact>.partial  still being made

Invariants
* Names that a user chose stand in the manifest alone: nothing on disk is called by them.
* A folder without `.partial` is whole; it got its name by one rename.
* The manifest's SHA-256 stands in the Staged record; the manifest holds random bytes, so only who has the content knows
  it. A daemon that finds a manifest of that digest below a root of its own shares the disk with the client.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import msgspec

from client.protocol.records import decode_ext

MANIFEST_NAME = "manifest.msgpack"
PARTIAL_SUFFIX = ".partial"
ROOT_NAME = "artifacts"
"""The folder of staged content within the spool, and within the daemon's state for what came over the wire."""

IDENTITY = re.compile(r"[0-9a-f]{32}")
"""A session or an artifact: 32 hexadecimal digits, and so a safe name for a folder."""


class Entry(msgspec.Struct, omit_defaults=True):
    """One thing that an artifact holds, in the order in which it was added.

    Exactly one of: `file` True (content is staged under the entry's number, `size_bytes` long), `ref` (a reference;
    with `digest` it is complete, without it whoever uploads resolves it, up to `max_objects`), `value` (a media object
    or table to construct, as it stands in a row). `path` is the name within the artifact; for a reference it may be
    empty: wandb then names it.
    """

    path: str
    file: bool = False
    size_bytes: int = 0
    ref: str | None = None
    digest: str | None = None
    checksum: bool = True
    max_objects: int | None = None
    value: Any = None
    extra: dict[str, Any] = {}


class Manifest(msgspec.Struct, omit_defaults=True):
    """What a folder of staged content holds. `nonce` is random.

    `blobs` are the sizes of what values name as the blobs 1, 2 …; their files are numbered on behind the entries.
    """

    nonce: str
    entries: list[Entry]
    blobs: list[int] = []

    def blob_file(self, blob: int) -> int:
        """The number of a blob's file."""
        return len(self.entries) + blob - 1

    def sizes(self) -> dict[int, int]:
        """The size of every file by its number, in bytes."""
        files = {number: entry.size_bytes for number, entry in enumerate(self.entries) if entry.file}
        return files | {self.blob_file(index + 1): size for index, size in enumerate(self.blobs)}


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Manifest, ext_hook=decode_ext)


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of a manifest file. Raises TypeError on a value that msgpack has not."""
    return _encoder.encode(manifest)


def decode_manifest(content: bytes) -> Manifest:
    """A manifest file's content. Raises msgspec.MsgspecError (a ValueError) where it is none."""
    return _decoder.decode(content)


def folder(root: Path, session: str, artifact: str) -> Path:
    """Where an artifact's content is staged. Raises ValueError for what is no session or artifact."""
    for name in (session, artifact):
        if not IDENTITY.fullmatch(name):
            raise ValueError(f"{name[:40]!r} is not 32 hexadecimal digits")
    return root / session / artifact


def path_problem(path: str) -> str | None:
    """Why a name within an artifact cannot be, None when it can: wandb's rules for relative paths."""
    posix, windows = PurePosixPath(path), PureWindowsPath(path)
    if not path or str(posix) == "." or "\0" in path:
        return "is empty"
    if posix.anchor or windows.anchor:
        return "is absolute: names within an artifact are relative"
    if ".." in posix.parts or ".." in windows.parts:
        return "has `..` in it: names within an artifact stay within it"
    return None
