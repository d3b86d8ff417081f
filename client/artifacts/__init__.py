"""Artifacts: versions of files in W&B, from a process that must not wait for them.

draft      what is added to an artifact before it is logged
sources    a local file: what it was at the call, and its copy that nobody else can change
upload     how far an artifact that was logged has come
line       the two threads of a run that stage and deliver
artifact   wandb's Artifact over all of it
remote     what W&B has: questions to the daemon about it
fetch      files of a version onto this disk
run_calls  the methods of Run
api        `client.Api()`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from client import lazy

if TYPE_CHECKING:
    from client.artifacts.artifact import Artifact
    from client.artifacts.checks import ArtifactTTL
    from client.artifacts.entries import ArtifactManifestEntry

_LAZY = {
    "Artifact": "client.artifacts.artifact",
    "ArtifactManifestEntry": "client.artifacts.entries",
    "ArtifactTTL": "client.artifacts.checks",
}


def __getattr__(name: str) -> Any:
    return lazy.load(__name__, _LAZY, name)


def __dir__() -> list[str]:
    return lazy.listed(__name__, _LAZY)


__all__ = ["Artifact", "ArtifactManifestEntry", "ArtifactTTL"]
