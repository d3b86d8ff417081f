"""What wandb says of a version, as the client's Artifact keeps it."""

from __future__ import annotations

import contextlib
from typing import Any

FIELDS = (
    "id", "entity", "project", "name", "version", "type", "description", "digest", "size", "aliases", "tags",
    "file_count", "commit_hash", "created_at", "updated_at", "state", "source_entity", "source_project", "source_name",
    "source_version", "is_link", "history_step", "url",
)  # fmt: skip


def describe(artifact: Any) -> dict[str, Any]:
    """The fields of a wandb artifact that is in W&B; what it cannot say is left out."""
    info: dict[str, Any] = {}
    for name in FIELDS:
        with contextlib.suppress(Exception):  # a field that this server does not know is absent, not an error
            info[name] = _plain(getattr(artifact, name))
    info["metadata"] = dict(artifact.metadata or {})
    with contextlib.suppress(Exception):
        ttl = artifact.ttl
        info["ttl_s"] = 0 if ttl is None else int(ttl.total_seconds())
    return info


def _plain(value: Any) -> Any:
    return [str(item) for item in value] if isinstance(value, (list, tuple, set)) else value
