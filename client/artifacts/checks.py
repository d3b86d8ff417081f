"""What an artifact may be called and carry: wandb's rules, with its errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from enum import Enum
from typing import Any

from client.protocol.artifacts import path_problem
from client.values import config_value

NAME_MAX_CHARACTERS = 128
METADATA_MAX_KEYS = 100
_NAME = re.compile(r"^[a-zA-Z0-9_\-.]+$")
_TAG = re.compile(r"^[-\w]+( +[-\w]+)*$")
_RESERVED_NAME_BY_TYPE = {"job": "", "run_table": "run-", "code": "source-"}


class ArtifactTTL(Enum):
    """`artifact.ttl = ArtifactTTL.INHERIT`: live as long as the team's default says."""

    INHERIT = 0


def name(value: str) -> str:
    """An artifact's name. Raises ValueError."""
    if not _NAME.match(value):
        raise ValueError(
            "Artifact name may only contain alphanumeric characters, dashes, underscores, and dots."
            f" Invalid name: {value!r}"
        )
    if len(value) > NAME_MAX_CHARACTERS:
        raise ValueError(f"Artifact name is longer than {NAME_MAX_CHARACTERS!r} characters: {value[:128]!r} ...")
    return value


def kind(value: str, artifact_name: str) -> str:
    """An artifact's type. Raises ValueError for those that W&B keeps to itself."""
    reserved = _RESERVED_NAME_BY_TYPE.get(value)
    if value.startswith("wandb-") or (reserved is not None and artifact_name.startswith(reserved)):
        raise ValueError(f"Artifact type {value!r} is reserved for internal use. Please use a different type.")
    return value


def aliases(value: Iterable[str] | str) -> list[str]:
    """Aliases; a single str is one. Raises ValueError."""
    given = [value] if isinstance(value, str) else list(value)
    if any(set(alias) & set("/:") for alias in given):
        raise ValueError("Aliases must not contain any of the following characters: '/', ':'")
    return given


def tags(value: Iterable[str] | str) -> list[str]:
    """Tags, each once; a single str is one. Raises ValueError."""
    given = list(dict.fromkeys([value] if isinstance(value, str) else value))
    if any(not _TAG.match(tag) for tag in given):
        raise ValueError(
            "Invalid tag(s).  Tags must only contain alphanumeric characters separated by hyphens, underscores,"
            " and/or spaces."
        )
    return given


def metadata(value: dict[str, Any] | str | None) -> dict[str, Any]:
    """Metadata as JSON has it. Raises TypeError for what is no dict, ValueError for infinities and too many keys."""
    if isinstance(value, str):
        value = json.loads(value) if value else None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"Cannot parse {type(value)} as artifact metadata")
    plain: dict[str, Any] = json.loads(json.dumps(config_value(value), allow_nan=False))
    if len(plain) > METADATA_MAX_KEYS:
        raise ValueError(f"Artifact must not have more than {METADATA_MAX_KEYS!r} metadata keys.")
    return plain


def path(value: str) -> str:
    """A name within an artifact, in its plain form. Raises ValueError for one that would leave it."""
    text = str(value)
    problem = path_problem(text)
    if problem is not None:
        raise ValueError(f"Invalid artifact path: {text!r} {problem}")
    return "/".join(part for part in text.split("/") if part not in ("", "."))


def policy(value: str | None) -> str:
    """How a file's content is kept from changes. Raises ValueError."""
    if value not in ("mutable", "immutable", None):
        raise ValueError(f"Invalid policy {value!r}. Policy may only be `mutable` or `immutable`.")
    return value or "mutable"
