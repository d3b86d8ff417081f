"""What W&B has of artifacts, asked through the daemon, which holds the key.

Every question waits, with a timeout; what W&B answered with a refusal is raised as wandb raises it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from client.artifacts.entries import ArtifactManifestEntry
from client.errors import CommError, NoAnswerError, SweepNotFoundError
from client.limits import ARTIFACT_POLL_S, ARTIFACT_USE_TIMEOUT_S

if TYPE_CHECKING:
    from client.artifacts.artifact import Artifact
    from client.sender import Question


class Channel(Protocol):
    """How a question gets to the daemon: a run's session, or a connection of its own."""

    def post(self, kind: str, args: dict[str, Any]) -> Question:
        """Ask, and go on."""


_LOOKS = frozenset({"artifact", "versions", "run_file"})
"""Questions that change nothing, and are put again when the daemon's process that asks W&B dies over them."""

_AGAIN = "ask again"
"""What the daemon says then."""


def checked(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer that is no refusal. Raises what the refusal says: ValueError, SweepNotFoundError, CommError."""
    if answer.get("error"):
        said = str(answer["error"])
        kinds = {"value": ValueError, "gone": SweepNotFoundError}
        raise kinds.get(str(answer.get("kind")), CommError)(said)
    return answer


class Remote:
    """`entity` and `project` complete a name that has none; empty: what the daemon takes for its own."""

    def __init__(self, channel: Channel, entity: str = "", project: str = "") -> None:
        self.channel = channel
        self._entity = entity
        self._project = project

    def ask(self, op: str, timeout_s: float = ARTIFACT_USE_TIMEOUT_S, **args: Any) -> dict[str, Any]:
        """W&B's answer. Raises NoAnswerError, CommError, ValueError."""
        end_s = time.monotonic() + timeout_s
        while True:
            question = self.channel.post("api", {"op": op, "entity": self._entity, "project": self._project, **args})
            left_s = end_s - time.monotonic()
            try:
                return checked(question.result(max(0.0, left_s)))
            except NoAnswerError as error:
                if "unknown question" in str(error):
                    raise NoAnswerError("the daemon is older than artifacts: update it") from None
                if op not in _LOOKS or _AGAIN not in str(error) or left_s <= ARTIFACT_POLL_S:
                    raise
            time.sleep(ARTIFACT_POLL_S)

    def find(self, name: str, kind: str | None, timeout_s: float) -> Artifact:
        """The version that "entity/project/name:alias" names. Raises as `ask`."""
        from client.artifacts.artifact import Artifact

        return Artifact._of(self.ask("artifact", timeout_s, name=name, type=kind)["info"], self)

    def change(self, op: str, name: str, **values: Any) -> dict[str, Any]:
        """Change a version: "update", "delete" or "unlink"; what W&B says of it then."""
        return dict(self.ask(op, name=name, **values).get("info") or {})

    def linked(self, name: str, target: str, aliases: list[str] | None) -> Artifact:
        """Link a version to a collection; the linked version."""
        from client.artifacts.artifact import Artifact

        return Artifact._of(self.ask("link", name=name, target=target, aliases=aliases)["info"], self)

    def manifest(self, artifact: Artifact) -> list[ArtifactManifestEntry]:
        """The entries of a version."""
        from client.artifacts.fetch import Fetch

        return Fetch(self, artifact.qualified_name).manifest(ARTIFACT_USE_TIMEOUT_S)

    def download(
        self,
        artifact: Artifact,
        root: str,
        prefix: str | None,
        only: str | None,
        *,
        allow_missing_references: bool,
        timeout_s: float,
    ) -> None:
        """Put the version's files under `root`."""
        from client.artifacts.fetch import Fetch

        fetch = Fetch(self, artifact.qualified_name, allow_missing_references=allow_missing_references)
        fetch.download(root, prefix, only, timeout_s)
