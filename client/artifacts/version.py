"""What W&B says of a version: the read side of Artifact, and the changes that it takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from client.artifacts import checks

if TYPE_CHECKING:
    from client.artifacts.artifact import Artifact
    from client.artifacts.remote import Remote


class Version:
    """Each property raises ArtifactNotLoggedError while the version is not in W&B, as in wandb."""

    _info: dict[str, Any]

    def _known(self, name: str) -> Any:
        raise NotImplementedError

    def _door(self) -> Remote:
        raise NotImplementedError

    @property
    def id(self) -> str | None:
        """W&B's own name for it; None for a draft."""
        return self._info.get("id") or (self._known("id") if not self.is_draft() else None)

    def is_draft(self) -> bool:
        """Whether it has no version yet."""
        raise NotImplementedError

    @property
    def version(self) -> str:
        """Its version, as "v0"."""
        return str(self._known("version"))

    @property
    def entity(self) -> str:
        """The user or team that it belongs to."""
        return str(self._known("entity"))

    @property
    def project(self) -> str:
        """The project that it belongs to."""
        return str(self._known("project"))

    @property
    def qualified_name(self) -> str:
        """Its whole name, "entity/project/name:v0"."""
        return f"{self.entity}/{self.project}/{self._known('name')}"

    @property
    def source_entity(self) -> str:
        """The user or team of the version that a link leads to; its own where it is no link."""
        return str(self._known("source_entity"))

    @property
    def source_project(self) -> str:
        """The project of the version that a link leads to."""
        return str(self._known("source_project"))

    @property
    def source_name(self) -> str:
        """The name of the version that a link leads to."""
        return str(self._known("source_name"))

    @property
    def source_version(self) -> str:
        """The version that a link leads to."""
        return str(self._known("source_version"))

    @property
    def source_qualified_name(self) -> str:
        """The whole name of the version that a link leads to."""
        return f"{self.source_entity}/{self.source_project}/{self.source_name}"

    @property
    def is_link(self) -> bool:
        """Whether it is a link to a version of another collection."""
        return bool(self._info.get("is_link"))

    @property
    def url(self) -> str:
        """Its page in W&B."""
        return str(self._known("url") or "")

    @property
    def commit_hash(self) -> str:
        """What W&B returned when it was committed."""
        return str(self._known("commit_hash"))

    @property
    def file_count(self) -> int:
        """How many files and references it holds."""
        return int(self._known("file_count") or 0)

    @property
    def created_at(self) -> str:
        """When it was made, as ISO 8601."""
        return str(self._known("created_at"))

    @property
    def updated_at(self) -> str:
        """When it was changed last, as ISO 8601."""
        return str(self._known("updated_at") or self._known("created_at"))

    @property
    def history_step(self) -> int | None:
        """The step of its run that it was logged at, where W&B knows it."""
        step = self._known("history_step")
        return None if step is None else int(step)

    @property
    def aliases(self) -> list[str]:
        """Names such as "best", which move from version to version. Change the list, then `save()`."""
        self._known("aliases")
        return self._list("aliases")

    @aliases.setter
    def aliases(self, value: Iterable[str]) -> None:
        self._known("aliases")
        self._info["aliases"] = checks.aliases(value)

    @property
    def tags(self) -> list[str]:
        """Words about this version. Change the list, then `save()`."""
        self._known("tags")
        return self._list("tags")

    @tags.setter
    def tags(self, value: Iterable[str]) -> None:
        self._known("tags")
        self._info["tags"] = checks.tags(value)

    def _list(self, name: str) -> list[str]:
        found: list[str] = self._info.setdefault(name, [])
        return found

    def link(self, target_path: str, aliases: Iterable[str] | None = None) -> Artifact:
        """Link this version to a collection, "registry/collection"; the linked version. Waits for W&B."""
        name = self.qualified_name
        return self._door().linked(name, target_path, None if aliases is None else checks.aliases(aliases))

    def unlink(self) -> None:
        """Take a link out of its collection. Waits for W&B."""
        self._door().change("unlink", self.qualified_name)

    def delete(self, delete_aliases: bool = False) -> None:
        """Delete the version. Waits for W&B, which refuses one with aliases unless `delete_aliases`."""
        self._door().change("delete", self.qualified_name, delete_aliases=delete_aliases)

    def _update(self) -> None:
        """Send what was changed to W&B, and wait for its answer."""
        name = self.qualified_name
        artifact: Any = self
        info = self._door().change(
            "update",
            name,
            aliases=list(self.aliases),
            tags=list(self.tags),
            description=artifact.description,
            metadata=checks.metadata(artifact.metadata),
            ttl_s=artifact._ttl_s if artifact._ttl_given else None,
        )
        artifact._learn(info, self._door())
