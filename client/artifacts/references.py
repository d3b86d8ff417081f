"""References of an artifact: `file://` is looked up here, where the files are; everything else by whoever uploads.

The daemon never opens a path that a reference names: what it gets of a file is its size and MD5, taken here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse

from client.artifacts import checks
from client.artifacts.entries import ArtifactManifestEntry, b64_md5, b64_md5_of

MAX_OBJECTS = 10_000_000
"""wandb's default."""


def refer(uri: str, name: str | None, checksum: bool, max_objects: int | None) -> list[ArtifactManifestEntry]:
    """The entries of a reference. Raises ValueError for what is no URI, or no file or folder."""
    scheme = urlparse(uri).scheme
    if not scheme:
        raise ValueError("References must be URIs. To reference a local file, use file://")
    if name is not None:
        name = checks.path(name)
    if scheme == "file":
        return list(_local(uri, name, checksum, max_objects or MAX_OBJECTS))
    path = name or checks.path(os.path.basename(urlparse(uri).path.rstrip("/")) or "reference")  # noqa: PTH119
    entry = ArtifactManifestEntry(path, ref=uri)
    entry.resolve = (checksum, max_objects)
    entry.is_named = name is not None
    return [entry]


def _local(uri: str, name: str | None, checksum: bool, max_objects: int) -> Iterator[ArtifactManifestEntry]:
    root = unquote(urlparse(uri).path)
    if os.path.isfile(root):  # noqa: PTH113
        yield _entry(name or checks.path(os.path.basename(root)), uri, root, checksum)  # noqa: PTH119
        return
    if not os.path.isdir(root):  # noqa: PTH112
        raise ValueError(f"Path {uri!r} must be a valid file or directory path")
    count = 0
    for folder, _, files in os.walk(root):
        for file in files:
            if count >= max_objects:
                raise ValueError(f"Exceeded {max_objects!r} objects tracked, pass max_objects to add_reference")
            count += 1
            path = os.path.join(folder, file)  # noqa: PTH118 - hot for many files
            within = os.path.relpath(path, start=root)
            yield _entry(checks.path(os.path.join(name or "", within)), f"{uri.rstrip('/')}/{within}", path, checksum)  # noqa: PTH118


def _entry(name: str, uri: str, path: str, checksum: bool) -> ArtifactManifestEntry:
    digest = b64_md5(path) if checksum else b64_md5_of(Path(path).resolve().as_uri().encode())
    return ArtifactManifestEntry(name, size=os.path.getsize(path), ref=uri, digest=digest)  # noqa: PTH202
