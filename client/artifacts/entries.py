"""What an artifact holds, by name: wandb's manifest and its entries."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from client.artifacts.sources import Source
from client.digests import md5

if TYPE_CHECKING:
    from client.artifacts.artifact import Artifact
    from client.artifacts.objects import Value

_READ_BYTES = 1 << 20


def b64_md5(path: str) -> str:
    """A file's MD5 as W&B writes it. Raises OSError."""
    digest = md5()
    with open(path, "rb") as stream:  # noqa: PTH123 - a str
        while piece := stream.read(_READ_BYTES):
            digest.update(piece)
    return base64.b64encode(digest.digest()).decode("ascii")


def b64_md5_of(data: bytes) -> str:
    """The MD5 of bytes, in the same form."""
    return base64.b64encode(md5(data).digest()).decode("ascii")


class ArtifactManifestEntry:
    """One file, reference or object of an artifact.

    `path` is its name within the artifact, `ref` the URI of a reference, `size` in bytes (None: not known). `digest` is
    computed when it is asked for, which for a local file means to read it.
    """

    def __init__(
        self,
        path: str,
        *,
        size: int | None = None,
        ref: str | None = None,
        digest: str | None = None,
        source: Source | None = None,
        value: Value | None = None,
        extra: dict[str, Any] | None = None,
        parent: Artifact | None = None,
        skip_cache: bool = False,
    ) -> None:
        self.path = path
        self.size = size
        self.ref = ref
        self.source = source
        self.value = value
        self.extra = extra or {}
        self.skip_cache = skip_cache
        self.resolve: tuple[bool, int | None] | None = None
        """(checksum, max_objects) of a reference that whoever uploads looks up."""
        self.is_named = True
        """Whether the caller named it; a reference without a name gets wandb's."""
        self._digest = digest
        self._parent = parent

    @property
    def name(self) -> str:
        """As `path`."""
        return self.path

    @property
    def local_path(self) -> str | None:
        """Where a file lies that was added from here."""
        return self.source.path if self.source else None

    @property
    def digest(self) -> str:
        """MD5 in base64 of a file, what the reference's storage says of a reference. Raises OSError."""
        if self._digest is None:
            if self.source is not None:
                data = self.source.read()
                self._digest = b64_md5_of(data) if data is not None else b64_md5(self.source.path)
            else:
                self._digest = b64_md5_of((self.ref or self.path).encode())
        return self._digest

    def parent_artifact(self) -> Artifact:
        """The artifact that it is an entry of."""
        if self._parent is None:
            raise NotImplementedError("the entry belongs to no artifact of W&B yet")
        return self._parent

    def download(self, root: str | None = None, skip_cache: bool | None = None, executor: object = None) -> str:
        """Put this file under `root` (the artifact's own folder when not given); its path.

        Raises as Artifact.download.
        """
        artifact = self.parent_artifact()
        where = artifact.download(root, path_prefix=self.path, only=self.path)
        return os.path.join(where, self.path)  # noqa: PTH118 - wandb answers a str

    def ref_target(self) -> str:
        """The URI of a reference. Raises ValueError for a file."""
        if self.ref is None:
            raise ValueError("Only reference entries support ref_target().")
        return self.ref

    def ref_url(self) -> str:
        """A URI of this entry that another artifact can refer to."""
        parent = self.parent_artifact()
        if parent.id is None:
            raise ValueError("Parent artifact ID is not set")
        return f"wandb-artifact://{base64.b64decode(parent.id).hex()}/{self.path}"

    def to_json(self) -> dict[str, Any]:
        """The entry as a dict."""
        whole = {"path": self.path, "digest": self.digest, "ref": self.ref, "size": self.size, "extra": self.extra}
        return {key: value for key, value in whole.items() if value is not None}

    def __repr__(self) -> str:
        of = f"ref={self.ref!r}" if self.ref else f"size={self.size}"
        return f"ArtifactManifestEntry(path={self.path!r}, {of})"


class Manifest:
    """The entries of an artifact by path."""

    def __init__(self, entries: list[ArtifactManifestEntry] | None = None) -> None:
        self.entries: dict[str, ArtifactManifestEntry] = {entry.path: entry for entry in entries or ()}

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[ArtifactManifestEntry]:
        return iter(self.entries.values())

    def digest(self) -> str:
        """W&B's digest of the content, hexadecimal. Reads every local file."""
        digest = md5(b"wandb-artifact-manifest-v1\n")
        for path, entry in sorted(self.entries.items()):
            digest.update(f"{path}:{entry.digest}\n".encode())
        return digest.hexdigest()

    def size(self) -> int:
        """The sum of what is known of sizes, in bytes."""
        return sum(entry.size or 0 for entry in self)

    def add_entry(self, entry: ArtifactManifestEntry, overwrite: bool = False) -> None:
        """Add. Raises ValueError when the path has other content already and is not to be overwritten."""
        old = self.entries.get(entry.path)
        if old is not None and not overwrite and old.digest != entry.digest:
            raise ValueError(f"Cannot add the same path twice: {entry.path!r}")
        self.entries[entry.path] = entry

    def remove_entry(self, entry: ArtifactManifestEntry) -> None:
        """Remove. Raises FileNotFoundError."""
        if self.entries.pop(entry.path, None) is None:
            raise FileNotFoundError(f"Cannot remove missing entry: {entry.path!r}")

    def get_entry_by_path(self, path: str) -> ArtifactManifestEntry | None:
        """The entry of that path."""
        return self.entries.get(path)

    def get_entries_in_directory(self, directory: str) -> list[ArtifactManifestEntry]:
        """The entries below a folder."""
        return [entry for path, entry in self.entries.items() if path.startswith(f"{directory}/")]
