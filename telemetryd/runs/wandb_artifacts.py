"""Artifacts in a run worker: wandb's objects from a record and its content, and what they are asked to do.

Everything here may wait for the network, and is called on the uploads' thread alone.
"""

from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from client.protocol.artifacts import Entry, path_problem
from client.protocol.records import Artifact, BlobRef
from telemetryd.inbox.content import Content
from telemetryd.runs import wandb_private
from telemetryd.runs.artifact_info import describe
from telemetryd.runs.errors import ArtifactRefusedError
from telemetryd.runs.media.builder import MediaBuilder
from telemetryd.runs.media.errors import MediaLostError
from telemetryd.runs.media.kinds import KINDS

log = logging.getLogger(__name__)

_BROKEN = (ConnectionError, EOFError)
"""What wandb raises where its connection to wandb-core is broken; requests and storages raise kinds of their own."""


class WandbArtifacts:
    """What the uploads do with a wandb run. `online` tells whether there is a server."""

    def __init__(self, run: Any, *, online: bool) -> None:
        self._run = run
        self.online = online
        self._waiting: tuple[Any, Future[dict[str, Any]]] | None = None

    def begin(self, record: Artifact, content: Content) -> Any:
        """Log a version; wandb's artifact, to be given to `wait`. Raises ArtifactRefusedError."""
        try:
            artifact = self._build(record, content)
            if record.distributed_id is not None:
                call = self._run.finish_artifact if record.finalize else self._run.upsert_artifact
                return call(artifact, aliases=record.aliases, distributed_id=record.distributed_id)
            if record.use and self.online:
                return self._run.use_artifact(artifact, aliases=record.aliases)
            logged = self._run.log_artifact(artifact, aliases=record.aliases, tags=record.tags)
            if _is_code(record):
                self._run.config.update({"_wandb": {"code_path": artifact.name}}, allow_val_change=True)
            return logged
        except _BROKEN:
            raise  # wandb-core is gone: the next worker begins again
        except ArtifactRefusedError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, OSError, ImportError, MediaLostError) as error:
            raise ArtifactRefusedError(f"wandb refused it: {error}") from error
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise ArtifactRefusedError(f"what it holds could not be looked up: {said}", may_pass=True) from error

    def wait(self, artifact: Any, timeout_s: int) -> dict[str, Any] | None:
        """What W&B says of the version once it is committed; None when that takes longer.

        Raises ArtifactRefusedError when it will not be.
        """
        if self._waiting is None or self._waiting[0] is not artifact:
            self._waiting = artifact, _wait_for(artifact)
        try:
            return self._waiting[1].result(timeout_s)
        except FutureTimeoutError:
            return None
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise ArtifactRefusedError(f"W&B did not take it: {said}", may_pass=True) from error

    def link(self, source: str, target: str, aliases: list[str] | None) -> dict[str, Any]:
        """Link a version, "entity/project/name:v0", to a collection. Raises ArtifactRefusedError."""
        try:
            linked = self._run.link_artifact(_api(self._run).artifact(source), target, aliases)
            return describe(linked) if linked is not None else {}
        except Exception as error:
            raise ArtifactRefusedError(f"it could not be linked to {target!r}: {error}", may_pass=True) from error

    def use(self, source: str) -> dict[str, Any]:
        """Note a version as an input of the run. Raises ArtifactRefusedError."""
        try:
            return describe(self._run.use_artifact(source))
        except Exception as error:
            raise ArtifactRefusedError(f"it could not be noted as an input: {error}", may_pass=True) from error

    def _build(self, record: Artifact, content: Content) -> Any:
        import wandb

        if record.base:
            artifact = _api(self._run).artifact(record.base).new_draft()
            artifact.description, artifact.metadata = record.description, json.loads(record.metadata)
            for path in record.removed:
                artifact.remove(path)
        else:
            kind = wandb_private.code_artifact if _is_code(record) else wandb.Artifact
            artifact = kind(
                record.name, record.type, record.description, json.loads(record.metadata), record.incremental
            )
        _remember(artifact, record.id)
        if record.ttl_s is not None:
            artifact.ttl = _ttl(record.ttl_s)
        builder = MediaBuilder(_Blobs(content), KINDS)
        for number, entry in enumerate(content.manifest.entries):
            if entry.path and (problem := path_problem(entry.path)) is not None:
                raise ValueError(f"the name {entry.path!r} {problem}")
            if entry.value is not None:
                artifact.add(builder.build(entry.value), entry.path, overwrite=True)
            else:
                _add(artifact, entry, content, number)
        return artifact


def _is_code(record: Artifact) -> bool:
    """Whether it is what `run.log_code` logs: a type that wandb keeps from users."""
    return record.type == "code"


class _Blobs:
    """The bytes that an artifact's media objects name, out of its content."""

    def __init__(self, content: Content) -> None:
        self._content = content

    def get(self, ref: BlobRef) -> bytes | None:
        """The bytes; None where the manifest has no such blob."""
        manifest = self._content.manifest
        if not 1 <= ref.id <= len(manifest.blobs):
            return None
        return self._content.file(manifest.blob_file(ref.id)).read_bytes()


def _wait_for(artifact: Any) -> Future[dict[str, Any]]:
    """Wait for the version on a thread of its own: wandb gives an upload up whose `wait` has timed out once."""
    future: Future[dict[str, Any]] = Future()

    def wait() -> None:
        try:
            future.set_result(describe(artifact.wait()))
        except BaseException as error:  # noqa: BLE001 - told to whoever asks for the result
            future.set_exception(error)

    threading.Thread(target=wait, name="artifact-wait", daemon=True).start()
    return future


def _ttl(seconds: int) -> Any:
    import wandb

    if seconds < 0:
        return wandb.ArtifactTTL.INHERIT
    return timedelta(seconds=seconds) if seconds else None


def _add(artifact: Any, entry: Entry, content: Content, number: int) -> None:
    if entry.file:
        # The content is ours and nobody changes it: neither wandb's staging nor its cache needs a copy.
        artifact.add_file(
            str(content.file(number)), name=entry.path, policy="immutable", skip_cache=True, overwrite=True
        )
    elif entry.ref is not None and (entry.digest is not None or urlsplit(entry.ref).scheme == "file"):
        from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry

        if entry.digest is None:
            raise ValueError(f"the reference {entry.ref!r} came without its checksum: no path is opened here")
        artifact.manifest.add_entry(
            ArtifactManifestEntry(
                path=entry.path, ref=entry.ref, digest=entry.digest, size=entry.size_bytes, extra=entry.extra
            )
        )
    elif entry.ref is not None:
        _refer(artifact, entry, entry.ref)


def _refer(artifact: Any, entry: Entry, ref: str) -> None:
    """Have wandb look a reference up. Raises ArtifactRefusedError: whatever a storage's library raises, it costs this
    artifact alone, and a storage that is not reached now may be later. wandb-core has no part in it."""
    try:
        artifact.add_reference(ref, entry.path or None, entry.checksum, entry.max_objects)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise ArtifactRefusedError(
            f"the reference {ref} could not be looked up by the daemon, with the credentials it has: {said}",
            may_pass=not isinstance(error, (ValueError, TypeError, KeyError, AttributeError, ImportError)),
        ) from error


def _remember(artifact: Any, identity: str) -> None:
    """Have the artifact's record in a .wandb file name ours, so that a worker after this one finds it there."""
    if hasattr(artifact, "_client_id"):
        artifact._client_id = identity
    else:
        log.warning("wandb_private_changed reason=%r effect=%r", "Artifact._client_id", "a replay may record it twice")


def _api(run: Any) -> Any:
    import wandb

    return wandb.Api(overrides={"entity": run.entity or "", "project": run.project or ""})
