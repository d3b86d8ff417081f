"""An artifact before it is logged: what `add_file`, `new_file`, `add_reference` and their kin make of it.

Nothing is copied or hashed here. Each file is kept open where that is possible, and its content is fixed when the
artifact is logged (sources.py).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from client.artifacts import checks, objects, references
from client.artifacts.entries import ArtifactManifestEntry, Manifest
from client.artifacts.sources import Source, open_regular
from client.errors import ArtifactFinalizedError


class _Folder:
    """A folder for new files, which goes with the last that needs it: the draft, or what is being staged of it."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="telemetryd-artifact-")
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class Draft:
    """The part of Artifact that fills it."""

    def __init__(self) -> None:
        self._manifest: Manifest | None = Manifest()
        self._final = False
        self._removed: list[str] = []
        self._added: dict[str, ArtifactManifestEntry] = {}
        self._folder: _Folder | None = None

    def _draft(self, call: str) -> Manifest:
        if self._final or self._manifest is None:
            raise ArtifactFinalizedError(call)
        return self._manifest

    def add_file(
        self,
        local_path: str | os.PathLike[str],
        name: str | None = None,
        is_tmp: bool | None = False,
        skip_cache: bool | None = False,
        policy: str | None = "mutable",
        overwrite: bool = False,
    ) -> ArtifactManifestEntry:
        """Add a file, as `name` (its own name when not given).

        The artifact gets the file's content as it is when the artifact is logged; where the file was removed or
        replaced by then, as it was here. With policy="immutable" you promise not to change it, which may spare a copy.
        `is_tmp` calls it by its content. Raises ValueError for what is no file, a name that leaves the artifact, or a
        name that has other content; ArtifactFinalizedError after the artifact was logged.
        """
        manifest = self._draft("add_file")
        path = os.fspath(local_path)
        if not os.path.isfile(path):  # noqa: PTH113 - as wandb
            raise ValueError(f"Path is not a file: {path!r}")
        name = checks.path(name or os.path.basename(path))  # noqa: PTH119
        entry = self._file(name, path, policy, skip_cache)
        if is_tmp:
            folder, _, file = name.rpartition("/")
            parts = [objects.hex_of(entry.digest)[:20], *file.split(".")[1:]]
            entry.path = "/".join(filter(None, (folder, ".".join(parts))))
        manifest.add_entry(entry, overwrite=overwrite)
        self._added[path] = entry
        return entry

    def add_dir(
        self,
        local_path: str | os.PathLike[str],
        name: str | None = None,
        skip_cache: bool | None = False,
        policy: str | None = "mutable",
        merge: bool = False,
    ) -> None:
        """Add every file below a folder, under `name` within the artifact (its root when not given).

        `merge` lets files replace those of the same name. Raises ValueError for what is no folder, and for a link in it
        that leads out of it: add what it leads to with `add_file`. Otherwise as add_file.
        """
        manifest = self._draft("add_dir")
        root = os.fspath(local_path)
        checks.policy(policy)
        if not os.path.isdir(root):  # noqa: PTH112
            raise ValueError(f"Path is not a directory: {root!r}")
        found = [(checks.path(os.path.join(name or "", within)), path) for within, path in _walk(root)]  # noqa: PTH118
        for logical, path in sorted(found):
            entry = self._file(logical, path, policy, skip_cache)
            manifest.add_entry(entry, overwrite=merge)
            self._added[path] = entry

    def _file(self, name: str, path: str, policy: str | None, skip_cache: bool | None) -> ArtifactManifestEntry:
        checked = checks.policy(policy)
        open_regular(path)
        source = Source(path, checked)
        return ArtifactManifestEntry(name, size=source.size_bytes, source=source, skip_cache=bool(skip_cache))

    @contextlib.contextmanager
    def new_file(
        self, name: str, mode: str = "x", encoding: str | None = None, policy: str = "mutable"
    ) -> Iterator[IO[Any]]:
        """A new file to write to, which is added to the artifact when it is closed: `with artifact.new_file("a") as f`.

        Raises ValueError for a name that leaves the artifact, or that a file has already (unless `mode` has no "x").
        """
        manifest = self._draft("new_file")
        checks.policy(policy)
        name = checks.path(name)
        if self._folder is None:
            self._folder = _Folder()
        path = Path(self._folder.path, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            stream = path.open(mode, encoding=encoding)
        except FileExistsError:
            raise ValueError(f"File with name {name!r} already exists at {str(path)!r}") from None
        with stream:
            yield stream
        source = Source(str(path), owner=self._folder)
        manifest.add_entry(
            ArtifactManifestEntry(name, size=source.size_bytes, source=source), overwrite="x" not in mode
        )

    def add_reference(
        self,
        uri: ArtifactManifestEntry | str,
        name: str | os.PathLike[str] | None = None,
        checksum: bool = True,
        max_objects: int | None = None,
    ) -> Sequence[ArtifactManifestEntry]:
        """Add what a URI names, without its content: s3, gs, http, https, Azure, file, or any other.

        A file's size and checksum are taken now. Everything else is looked up by the daemon's run worker, with the
        daemon's credentials, when the artifact is uploaded; a folder of objects gets its entries then. Raises
        ValueError for what is no URI.
        """
        manifest = self._draft("add_reference")
        text = uri.ref_url() if isinstance(uri, ArtifactManifestEntry) else str(uri)
        entries = references.refer(text, None if name is None else os.fspath(name), checksum, max_objects)
        for entry in entries:
            manifest.add_entry(entry)
        return entries

    def add(self, obj: Any, name: str | os.PathLike[str], overwrite: bool = False) -> ArtifactManifestEntry:
        """Add a media object or a table. Raises TypeError for anything else."""
        manifest = self._draft("add")
        path, value = objects.captured(obj, checks.path(os.fspath(name)))
        entry = manifest.get_entry_by_path(path)
        if entry is None or overwrite:
            entry = ArtifactManifestEntry(path, value=value)
            manifest.add_entry(entry, overwrite=True)
        return entry

    def remove(self, item: str | os.PathLike[str] | ArtifactManifestEntry) -> None:
        """Remove an entry, or every entry below a folder. Raises FileNotFoundError."""
        manifest = self._draft("remove")
        if isinstance(item, ArtifactManifestEntry):
            found = [item]
        else:
            path = checks.path(os.fspath(item))
            entry = manifest.get_entry_by_path(path)
            found = [entry] if entry is not None else manifest.get_entries_in_directory(path)
            if not found:
                raise FileNotFoundError(f"No such file or directory: {path}")
        for entry in found:
            manifest.remove_entry(entry)
            if entry.source is None and entry.value is None:
                self._removed.append(entry.path)

    def get_added_local_path_name(self, local_path: str) -> str | None:
        """The name within the artifact of a file that was added by this path."""
        entry = self._added.get(local_path)
        return entry.path if entry else None


def _walk(root: str) -> Iterator[tuple[str, str]]:
    """(path within the folder, path) of every file below it, links followed that stay within it."""
    real_root = os.path.realpath(root)
    seen = {real_root}
    for folder, folders, files in os.walk(root, followlinks=True):
        for name in [*folders, *files]:
            path = os.path.join(folder, name)  # noqa: PTH118 - hot for many files
            if not os.path.islink(path):  # noqa: PTH114
                continue
            real = os.path.realpath(path)
            if real != real_root and not real.startswith(real_root.rstrip("/") + "/"):
                raise ValueError(
                    f"{path!r} is a link that leaves the directory {root!r}: add what it leads to with add_file()"
                )
            if name in folders and real in seen:
                raise ValueError(f"{path!r} is a link to a folder that it lies in")
            seen.add(real)
        for name in files:
            path = os.path.join(folder, name)  # noqa: PTH118
            yield os.path.relpath(path, start=root), path
