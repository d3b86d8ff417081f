"""wandb's Artifact: filled as a draft, then the handle of its way to W&B, then what W&B says of the version."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.artifacts import checks
from client.artifacts.checks import ArtifactTTL
from client.artifacts.draft import Draft
from client.artifacts.entries import ArtifactManifestEntry, Manifest
from client.artifacts.upload import Upload
from client.artifacts.version import Version
from client.errors import ArtifactFailedError, ArtifactFinalizedError, ArtifactNotLoggedError, WaitTimeoutError
from client.limits import ARTIFACT_DOWNLOAD_TIMEOUT_S
from client.protocol import records
from client.protocol.artifacts import path_problem

if TYPE_CHECKING:
    from client.artifacts.remote import Remote


class Artifact(Draft, Version):
    """A version of files: `artifact = Artifact("data", "dataset")`, `artifact.add_file("a.csv")`, then
    `run.log_artifact(artifact)`.

    Arguments are wandb's. `log_artifact` returns at once; the artifact is then the handle of its upload: `staged`,
    `done`, `progress` (0 to 1), `error`, and `wait(timeout)`. Once it is in W&B it has `version`, `id`, `digest` and
    the rest, and its files can be downloaded.

    Raises ValueError for a name, type or metadata that cannot be.
    """

    def __init__(
        self,
        name: str,
        type: str,
        description: str | None = None,
        metadata: dict[str, Any] | None = None,
        incremental: bool = False,
        use_as: str | None = None,
        storage_region: str | None = None,
        digest_algorithm: str = "MD5",
    ) -> None:
        Draft.__init__(self)
        self._name = checks.name(name)
        self._type = checks.kind(type, name)
        self._description = description
        self._metadata = checks.metadata(metadata)
        self._incremental = incremental
        self._ttl_s: int | None = None
        self._ttl_given = False
        self._base: str | None = None
        self._upload: Upload | None = None
        self._info: dict[str, Any] = {}
        self._remote: Remote | None = None
        self.distributed_id: str | None = None

    @classmethod
    def _of(cls, info: dict[str, Any], remote: Remote) -> Artifact:
        """A version that W&B has."""
        artifact = cls("placeholder", "placeholder")
        artifact._final = True
        artifact._learn(info, remote)
        return artifact

    def _learn(self, info: dict[str, Any], remote: Remote | None) -> None:
        self._info = info
        self._remote = remote
        self._name = str(info["name"])
        self._type = str(info["type"])
        self._description = info.get("description")
        self._metadata = dict(info.get("metadata") or {})
        ttl_s = info.get("ttl_s")
        self._ttl_s, self._ttl_given = ttl_s, "ttl_s" in info
        self._manifest = None

    def _known(self, name: str) -> Any:
        """What W&B said of the version. Raises ArtifactNotLoggedError while it has said nothing."""
        self._look()
        if not self._info:
            raise ArtifactNotLoggedError(name)
        return self._info.get(name)

    def _look(self) -> None:
        """Take over what has become known since the last time."""
        if not self._info and self._upload is not None and self._upload.info:
            self._learn(self._upload.info, self._remote)

    # How far it is

    @property
    def staged(self) -> bool:
        """Whether its content is safe: the files that were added may be overwritten or removed now."""
        return bool(self._info) or (self._upload is not None and self._upload.staged)

    @property
    def done(self) -> bool:
        """Whether it is in W&B (offline: in the run's `.wandb` file), or never will be (`error`)."""
        return bool(self._info) or (self._upload is not None and self._upload.done)

    @property
    def progress(self) -> float:
        """How far it is, from 0 to 1; the first half is staging."""
        return 1.0 if self._info else self._upload.progress if self._upload is not None else 0.0

    @property
    def error(self) -> str | None:
        """Why it will not get to W&B; None while nothing is wrong."""
        return self._upload.error if self._upload is not None else None

    def wait(self, timeout: float | None = None) -> Artifact:
        """Wait until the version is in W&B (offline: in the run's file), at most `timeout` seconds; this artifact.

        Raises ArtifactNotLoggedError when it was not logged, WaitTimeoutError when time is over, and
        ArtifactFailedError (a ValueError) when it will not get there, with the reason.
        """
        if self._info:
            return self
        if self._upload is None:
            raise ArtifactNotLoggedError("wait")
        if not self._upload.wait(timeout):
            raise WaitTimeoutError(
                f"Artifact upload wait timed out, failed to fetch Artifact response: {self._name!r} is"
                f" {self._upload.state} after {timeout:g} s"
            )
        if self._upload.state == "failed":
            raise ArtifactFailedError(f"artifact {self._name!r} is not in W&B: {self._upload.error}")
        self._look()
        return self

    def wait_staged(self, timeout: float | None = None) -> bool:
        """Wait until the sources may be overwritten or removed; whether they may.

        Raises ArtifactNotLoggedError when it was not logged, ArtifactFailedError when staging failed.
        """
        if self._upload is None:
            raise ArtifactNotLoggedError("wait_staged")
        over = self._upload.wait(timeout, staged=True)
        if self._upload.state == "failed" and not self._upload.staged:
            raise ArtifactFailedError(f"artifact {self._name!r} was not staged: {self._upload.error}")
        return over

    def is_draft(self) -> bool:
        """Whether W&B has no such version yet, as far as is known here."""
        self._look()
        return not self._info

    def finalize(self) -> None:
        """Take no more changes; `log_artifact` does it."""
        self._final = True

    def save(self, project: str | None = None, settings: object = None) -> None:
        """Log a draft in the active run (a run of type "auto" where there is none), or send what was changed of a
        version.

        For a version, these can be changed: aliases, tags, description, metadata, ttl. Waits for W&B's answer then.
        """
        if self._info or self._upload is not None:
            self._update()
            return
        import client

        if client.run is not None:
            client.run.log_artifact(self)
            return
        with client.init(project=project, job_type="auto") as run:
            run.log_artifact(self)

    def new_draft(self) -> Artifact:
        """A draft that changes this version: what is added and removed, on top of it."""
        source = str(self._known("source_name") or self._name)
        draft = Artifact(source.partition(":")[0], self.type)
        draft._base = self.qualified_name
        draft._description, draft._metadata = self._description, dict(self._metadata)
        draft._manifest = Manifest(list(self.manifest))
        return draft

    # What it is called and carries

    @property
    def name(self) -> str:
        """Its name; with its version, as "name:v0", once that is known."""
        self._look()
        return self._name

    @property
    def type(self) -> str:
        """Its type, such as "dataset" or "model"."""
        return self._type

    @property
    def description(self) -> str | None:
        """A text about it."""
        return self._description

    @description.setter
    def description(self, value: str | None) -> None:
        self._description = value

    @property
    def metadata(self) -> dict[str, Any]:
        """Values about it, at most 100."""
        return self._metadata

    @metadata.setter
    def metadata(self, value: dict[str, Any]) -> None:
        self._metadata = checks.metadata(value)

    @property
    def ttl(self) -> timedelta | None:
        """How long W&B keeps it; None: for ever. ArtifactNotLoggedError while that is inherited and not known."""
        if not self._ttl_given or self._ttl_s == -1:
            raise ArtifactNotLoggedError("ttl")
        return timedelta(seconds=self._ttl_s) if self._ttl_s else None

    @ttl.setter
    def ttl(self, value: timedelta | ArtifactTTL | None) -> None:
        if self._info.get("is_link"):
            raise ValueError(
                "Cannot set TTL for link artifact. Unlink the artifact first then set the TTL for the source artifact"
            )
        if value is None:
            seconds = 0
        elif isinstance(value, ArtifactTTL):
            seconds = -1
        elif value.total_seconds() <= 0:
            raise ValueError(f"Artifact TTL Duration has to be positive. ttl: {value.total_seconds()}")
        else:
            seconds = int(value.total_seconds())
        self._ttl_s, self._ttl_given = seconds, True

    @property
    def incremental(self) -> bool:
        """Whether it adds to the newest version instead of replacing it."""
        return self._incremental

    @property
    def use_as(self) -> str | None:
        """None: wandb has given it up."""
        return None

    @property
    def state(self) -> str:
        """ "PENDING" or "COMMITTED"."""
        self._look()
        return str(self._info.get("state", "COMMITTED")) if self._info else "PENDING"

    @property
    def manifest(self) -> Manifest:
        """What it holds. For a version it is fetched, which waits for W&B."""
        if self._manifest is None:
            entries = self._door().manifest(self)
            for entry in entries:
                entry._parent = self
            self._manifest = Manifest(entries)
        return self._manifest

    @property
    def digest(self) -> str:
        """W&B's digest of the content. For a draft every file is read."""
        known = self._info.get("digest")
        return str(known) if known is not None else self.manifest.digest()

    @property
    def size(self) -> int:
        """Bytes of all its files, as far as they are known."""
        known = self._info.get("size")
        return int(known) if known is not None else self.manifest.size()

    # What it holds

    def get_entry(self, name: str | os.PathLike[str]) -> ArtifactManifestEntry:
        """The entry of that name. Raises KeyError; ArtifactNotLoggedError for a draft."""
        self._known("get_entry")
        path = checks.path(os.fspath(name))
        entry = self.manifest.get_entry_by_path(path)
        if entry is None:
            raise KeyError(f"Path not contained in artifact: {path}")
        return entry

    get_path = get_entry

    def files(self, names: list[str] | None = None, per_page: int = 50, start: str | None = None) -> list[Any]:
        """Its files (those of these names): entries with `name`, `size`, `digest` and `download(root)`."""
        self._known("files")
        return [entry for entry in self.manifest if names is None or entry.path in names]

    def download(
        self,
        root: str | os.PathLike[str] | None = None,
        allow_missing_references: bool = False,
        skip_cache: bool | None = None,
        path_prefix: str | os.PathLike[str] | None = None,
        multipart: bool | None = None,
        *,
        only: str | None = None,
        timeout: float = ARTIFACT_DOWNLOAD_TIMEOUT_S,
    ) -> str:
        """Put its files (those below `path_prefix`) under `root`; that folder's path.

        The daemon fetches what it has not in its cache, and every file is checked against its digest. What is there
        already with the right content stays; a file is either whole or not there. `root` is
        `./artifacts/NAME:VERSION` when not given, below `$WANDB_ARTIFACT_DIR` where that is set.

        Raises NoAnswerError when the daemon or W&B do not answer in time, CommError when W&B refuses, ValueError for a
        file that would lie outside of `root` or does not match its digest.
        """
        self._known("download")
        where = os.fspath(root) if root is not None else self._default_root()
        prefix = None if path_prefix is None else os.fspath(path_prefix)
        self._door().download(
            self, where, prefix, only, allow_missing_references=allow_missing_references, timeout_s=timeout
        )
        return where

    def file(self, root: str | None = None) -> str:
        """Download the only file of the artifact; its path. Raises ValueError when there are more."""
        if len(self.manifest) != 1:
            raise ValueError(
                "This artifact contains more than one file, call `.download()` to get all files or call"
                ' .get_entry("filename").download()'
            )
        return next(iter(self.manifest)).download(root)

    def checkout(self, root: str | None = None) -> str:
        """Download, and remove every other file under `root`; that folder's path."""
        self._known("checkout")
        where = root or self._default_root(with_version=False)
        for folder, _, files in os.walk(where):
            for file in files:
                path = Path(folder, file)
                if self.manifest.get_entry_by_path(str(path.relative_to(where))) is None:
                    path.unlink()
        return self.download(where)

    def verify(self, root: str | None = None) -> None:
        """Check the files under `root` against their digests. Raises ValueError for a wrong or foreign one."""
        from client.artifacts.entries import b64_md5

        where = Path(root or self._default_root())
        for path in where.rglob("*"):
            if path.is_file() and self.manifest.get_entry_by_path(str(path.relative_to(where))) is None:
                raise ValueError(f"Found file {path} which is not a member of artifact {self.name}")
        for entry in self.manifest:
            if entry.ref is None and b64_md5(str(where / entry.path)) != entry.digest:
                raise ValueError(f"Digest mismatch for file: {entry.path}")

    def get(self, name: str) -> Any:
        """The media object or table that was added under `name`; None when there is none."""
        from client.artifacts import objects

        self._known("get")
        return objects.loaded(self, name)

    __getitem__ = get

    def __setitem__(self, name: str, item: Any) -> ArtifactManifestEntry:
        return self.add(item, name)

    def _default_root(self, *, with_version: bool = True) -> str:
        name = str(self._info.get("source_name") or self._name)
        if not with_version:
            name = name.partition(":")[0]
        if path_problem(name[2:] if name[1:2] == ":" else name) is not None:  # "a:v0" is no drive of Windows
            raise ValueError(f"Invalid artifact name: {name!r}")
        return os.path.join(os.environ.get("WANDB_ARTIFACT_DIR") or os.path.join(".", "artifacts"), name)  # noqa: PTH118

    def _door(self) -> Remote:
        if self._remote is None:
            raise ArtifactNotLoggedError("download")
        return self._remote

    # In the journal

    def _record(self, identity: str, aliases: Iterable[str] | None, tags: list[str] | None) -> records.Artifact:
        import json

        return records.Artifact(
            identity,
            name=self._name,
            type=self._type,
            description=self._description,
            metadata=json.dumps(checks.metadata(self._metadata)),
            aliases=None if aliases is None else list(aliases),
            tags=tags,
            ttl_s=self._ttl_s if self._ttl_given else None,
            incremental=self._incremental,
            base=self._base,
            removed=list(self._removed),
            distributed_id=self.distributed_id,
        )

    def _begin(self, upload: Upload, remote: Remote) -> None:
        """It is logged: from here on it cannot be changed."""
        if self._upload is not None and not self._info:
            raise ArtifactFinalizedError("log_artifact")
        self._final = True
        self._upload = upload
        self._remote = remote

    def __repr__(self) -> str:
        return f"<Artifact {self._info.get('id') or self._name}>"
