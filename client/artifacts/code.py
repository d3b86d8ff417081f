"""The artifact that `run.log_code` logs: its type is one that W&B keeps from users."""

from __future__ import annotations

from client.artifacts.artifact import Artifact


class CodeArtifact(Artifact):
    """An artifact of type "code"."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "unspecified")
        self._type = "code"
