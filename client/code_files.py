"""`run.log_code`: which files are the code, and what the artifact is called. As in wandb."""

from __future__ import annotations

import inspect
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_WANDB_FOLDERS = ("wandb", ".wandb")

Choice = Callable[[str, str], bool] | Callable[[str], bool]


def is_code(path: str) -> bool:
    """The files that are logged unless told otherwise: *.py, Dockerfile*, requirements.txt."""
    name = Path(path).name
    return name.endswith(".py") or name.startswith("Dockerfile") or name == "requirements.txt"


def is_wandbs(path: str, root: str) -> bool:
    """Whether it lies in `wandb` or `.wandb` of the root."""
    return os.path.relpath(path, root).startswith(tuple(folder + os.sep for folder in _WANDB_FOLDERS))


def found(root: str, include_fn: Choice, exclude_fn: Choice) -> Iterator[tuple[str, str]]:
    """(path, name below the root) of each file that is wanted. Raises what the caller's functions raise."""
    include, exclude = _with_root(include_fn), _with_root(exclude_fn)
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - the caller's functions get a str
            if include(path, root) and not exclude(path, root):
                yield path, os.path.relpath(path, root)


def _with_root(choose: Any) -> Callable[[str, str], bool]:
    """A function of (path, root), of one that may take the path alone."""
    if len(inspect.signature(choose).parameters) == 2:
        return lambda path, root: bool(choose(path, root))
    return lambda path, root: bool(choose(path))


def artifact_name(given: str) -> str:
    """A name that W&B takes; what it does not take is left out, and a checksum keeps the name apart from others."""
    kept = re.sub(r"[^a-zA-Z0-9_\-.]+", "", given)
    if kept == given:
        return given
    import base64

    checksum = zlib.crc32(given.encode()) & 0xFFFFFFFF
    return f"{kept}-{base64.urlsafe_b64encode(checksum.to_bytes(4, 'big')).rstrip(b'=').decode()}"
