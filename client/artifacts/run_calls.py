"""What a run does with artifacts: `log_artifact` and its kin return at once, `use_artifact` waits for W&B.

The rest of the package is loaded by the first call that needs it: most trainings make none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from client.history import History
from client.limits import ARTIFACT_USE_TIMEOUT_S
from client.protocol import records
from client.protocol.messages import RunSpec
from client.settings import RunSettings
from client.stream import Stream
from client.tokens import token_hex

if TYPE_CHECKING:
    from client.artifacts.artifact import Artifact
    from client.artifacts.line import Line
    from client.artifacts.remote import Remote

PathOrArtifact: TypeAlias = "Artifact | str | os.PathLike[str]"


class RunArtifacts:
    """The part of Run that is about artifacts."""

    _spec: RunSpec
    _stream: Stream
    _resolved: RunSettings
    _history: History
    _artifact_line: Line | None = None

    @property
    def offline(self) -> bool:
        """Whether W&B's server is not used."""
        raise NotImplementedError

    # Logging

    def log_artifact(
        self,
        artifact_or_path: PathOrArtifact,
        name: str | None = None,
        type: str | None = None,
        aliases: list[str] | None = None,
        tags: list[str] | None = None,
    ) -> Artifact:
        """Log a version of an artifact; or of the file, folder or reference at a path, named "run-ID-BASENAME".

        Returns at once with the artifact, which tells how far it is: `staged`, `done`, `error`, `wait(timeout)`. Its
        files are what they are now; overwrite or remove them once it is `staged`. `aliases` is ["latest"] when not
        given.

        Raises ValueError for a path that is none, a name, alias or tag that cannot be; TypeError for what is neither;
        UsageError after `finish`.
        """
        return self._log_artifact("log_artifact", artifact_or_path, name, type, aliases, tags)

    def log_model(
        self, path: str | os.PathLike[str], name: str | None = None, aliases: list[str] | None = None
    ) -> Artifact:
        """`log_artifact` of a path, with the type "model". Returns the artifact, where wandb returns nothing."""
        return self._log_artifact("log_model", path, name, "model", aliases, None)

    def upsert_artifact(
        self,
        artifact_or_path: PathOrArtifact,
        name: str | None = None,
        type: str | None = None,
        aliases: list[str] | None = None,
        distributed_id: str | None = None,
    ) -> Artifact:
        """Add to a version that several processes make together, until `finish_artifact`.

        They share `distributed_id` (the run's group when not given). Raises TypeError without either.
        """
        shared = self._distributed("upsert", distributed_id)
        return self._log_artifact(
            "upsert_artifact", artifact_or_path, name, type, aliases, None, distributed_id=shared, finalize=False
        )

    def finish_artifact(
        self,
        artifact_or_path: PathOrArtifact,
        name: str | None = None,
        type: str | None = None,
        aliases: list[str] | None = None,
        distributed_id: str | None = None,
    ) -> Artifact:
        """Add the last part of such a version, and close it. Raises TypeError as upsert_artifact."""
        shared = self._distributed("finish", distributed_id)
        return self._log_artifact("finish_artifact", artifact_or_path, name, type, aliases, None, distributed_id=shared)

    def _distributed(self, what: str, distributed_id: str | None) -> str:
        if self._spec.group is None and distributed_id is None:
            raise TypeError(f"Cannot {what} artifact unless run is in a group or distributed_id is provided")
        return distributed_id if distributed_id is not None else self._spec.group or ""

    def _log_artifact(
        self,
        call: str,
        given: PathOrArtifact,
        name: str | None,
        type: str | None,
        aliases: Iterable[str] | None,
        tags: Iterable[str] | None,
        *,
        distributed_id: str | None = None,
        finalize: bool = True,
        use: bool = False,
    ) -> Artifact:
        from client.artifacts import checks
        from client.artifacts.upload import Upload

        is_open = self._history.check_open(call)
        checked_aliases = None if aliases is None else checks.aliases(aliases)
        checked_tags = None if tags is None else checks.tags(tags)
        artifact = self._prepared(given, name, type)
        artifact.distributed_id = distributed_id
        upload = Upload(token_hex(16), artifact.name)
        record = artifact._record(upload.id, checked_aliases, checked_tags)
        record.finalize, record.use = finalize, use
        entries = list(artifact.manifest) if artifact._base is None else _changed(artifact)
        artifact._begin(upload, self._remote())
        if is_open:
            self._line().log(record, upload, entries)
        else:
            upload.orphan()
        return artifact

    def _prepared(self, given: PathOrArtifact, name: str | None, type: str | None) -> Artifact:
        from client.artifacts.artifact import Artifact

        if isinstance(given, Artifact):
            return given
        if not isinstance(given, (str, os.PathLike)):
            raise TypeError("You must pass an instance of wandb.Artifact or a valid file path to log_artifact")
        path = os.fspath(given)
        artifact = Artifact(name or f"run-{self._spec.run_id}-{os.path.basename(path)}", type or "unspecified")  # noqa: PTH119
        if os.path.isfile(path):  # noqa: PTH113
            artifact.add_file(path)
        elif os.path.isdir(path):  # noqa: PTH112
            artifact.add_dir(path)
        elif "://" in path:
            artifact.add_reference(path)
        else:
            raise ValueError("path must be a file, directory or externalreference like s3://bucket/path")
        return artifact

    # Linking

    def link_artifact(self, artifact: Artifact, target_path: str, aliases: list[str] | None = None) -> Artifact:
        """Link a version to a collection, "registry/collection" or "entity/project/collection"; logs a draft first.

        Returns at once: what is returned is the handle of the link, and the linked version once that is done. Raises
        NotImplementedError offline, as wandb.
        """
        from client.artifacts import checks
        from client.artifacts.artifact import Artifact
        from client.artifacts.upload import Upload

        is_open = self._history.check_open("link_artifact")
        if self.offline:
            raise NotImplementedError("link_artifact needs W&B's server: the run is offline")
        checked = None if aliases is None else checks.aliases(aliases)
        if artifact.is_draft() and artifact._upload is None:
            self._log_artifact("link_artifact", artifact, None, None, None, None)
        source = artifact.qualified_name if artifact._upload is None else artifact._upload.id
        linked = Artifact(artifact.name.partition(":")[0], artifact.type)
        upload = Upload(token_hex(16), f"{artifact.name} to {target_path}")
        linked._begin(upload, self._remote())
        record = records.Artifact(
            upload.id, "link", name=artifact.name, aliases=checked, source=source, target=target_path
        )
        if is_open:
            self._line().ask(record, upload)
        else:
            upload.orphan()
        return linked

    def link_model(
        self,
        path: str | os.PathLike[str],
        registered_model_name: str,
        name: str | None = None,
        aliases: list[str] | None = None,
    ) -> Artifact | None:
        """Log a model and link it to a registered model; returns as link_artifact."""
        if "/" in registered_model_name:
            raise AssertionError(
                "Please provide only the name of the registered model. Do not append the entity or project name."
            )
        artifact = self.log_model(path, name)
        entity = f"{self._spec.entity}/" if self._spec.entity else ""
        return self.link_artifact(artifact, f"{entity}model-registry/{registered_model_name}", aliases)

    # Using

    def use_artifact(
        self,
        artifact_or_name: str | Artifact,
        type: str | None = None,
        aliases: list[str] | None = None,
        use_as: str | None = None,
        *,
        timeout: float = ARTIFACT_USE_TIMEOUT_S,
    ) -> Artifact:
        """Note a version as an input of the run, and return it: `run.use_artifact("entity/project/name:alias")`.

        Waits for W&B's answer, at most `timeout` seconds. A draft is logged, and waited for. Raises TypeError offline,
        ValueError for a version that is not there or has another type, CommError and NoAnswerError when W&B refuses or
        nobody answers.
        """
        from client.artifacts.artifact import Artifact
        from client.artifacts.upload import Upload

        is_open = self._history.check_open("use_artifact")
        if self.offline:
            raise TypeError("Cannot use artifact when in offline mode.")
        if isinstance(artifact_or_name, Artifact):
            artifact = artifact_or_name
            if artifact.is_draft():
                if artifact._upload is None:
                    self._log_artifact("use_artifact", artifact, None, None, aliases or [], None, use=True)
                return artifact.wait(timeout)
        elif isinstance(artifact_or_name, str):
            artifact = self._remote().find(artifact_or_name, type, timeout)
        else:
            raise ValueError(  # noqa: TRY004 - as wandb
                'You must pass an artifact name (e.g. "pedestrian-dataset:v1"), an instance of `wandb.Artifact`,'
                " or `wandb.Api().artifact()` to `use_artifact`"
            )
        if is_open:
            upload = Upload(token_hex(16), artifact.name)
            record = records.Artifact(upload.id, "use", name=artifact.name, source=artifact.qualified_name)
            self._line().ask(record, upload)
        return artifact

    def use_model(self, name: str, *, timeout: float = ARTIFACT_USE_TIMEOUT_S) -> str:
        """The path of a downloaded model: of its file where it has only one, else of its folder.

        Waits for W&B to name the version at most `timeout` seconds; raises as `use_artifact` and `Artifact.download`.
        """
        if self.offline:
            raise RuntimeError("`use_model` not supported in offline mode.")
        artifact = self.use_artifact(name, timeout=timeout)
        if "model" not in artifact.type.lower():
            raise AssertionError(
                "You can only use this method for 'model' artifacts. For an artifact to be a 'model' artifact, its type"
                " property must contain the substring 'model'."
            )
        path = artifact.download()
        files = os.listdir(path)  # noqa: PTH208 - wandb answers a str
        return os.path.join(path, files[0]) if len(files) == 1 else path  # noqa: PTH118

    # Behind it

    def _line(self) -> Line:
        if self._artifact_line is None:
            from client.artifacts.line import Line

            self._artifact_line = Line(self._stream, self._resolved.policy.artifact_max_bytes)
        return self._artifact_line

    def _remote(self) -> Remote:
        from client.artifacts.remote import Remote

        report = self._stream.report
        entity = self._spec.entity or (report.entity if report else None) or ""
        project = self._spec.project or (report.project if report else None) or ""
        return Remote(self._stream, entity, project)

    def _artifact_tally(self) -> dict[str, int]:
        """How many artifacts came to which end, and how many are on their way."""
        return self._artifact_line.tally() if self._artifact_line is not None else {}

    def _settle_artifacts(self, timeout_s: float) -> None:
        """Before the run's End: what is still being staged or sent."""
        if self._artifact_line is not None:
            self._artifact_line.settle(timeout_s)

    def _close_artifacts(self, timeout_s: float) -> None:
        """After the run's End, while the session is still there: hear what became of them."""
        if self._artifact_line is not None:
            self._artifact_line.courier.look(timeout_s)
            self._artifact_line.close()

    def _orphan_artifacts(self) -> None:
        if self._artifact_line is not None:
            self._artifact_line.orphan()


def _changed(draft: Artifact) -> list[Any]:
    """The entries of a draft of an existing version that are not the version's own."""
    return [entry for entry in draft.manifest if entry.source is not None or entry.value is not None or entry.resolve]
