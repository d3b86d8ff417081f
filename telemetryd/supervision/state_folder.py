"""The state folder: one daemon each, and a file that says which.

`daemon.lock` is held (flock) for the daemon's life. `daemon.json` tells people and scripts who serves; it is gone
after a clean stop, and after a crash it names the process that died.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from telemetryd.errors import AlreadyServingError, PlaceError

log = logging.getLogger(__name__)

LOCK_NAME = "daemon.lock"
FACTS_NAME = "daemon.json"


def make(state_dir: Path) -> None:
    """Make the folder, for its owner alone. Raises PlaceError."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PlaceError(
            f"the state folder {state_dir} cannot be made ({error.strerror}): choose another --state-dir"
        ) from error


@contextlib.contextmanager
def lock(state_dir: Path) -> Iterator[None]:
    """One daemon per state folder. Raises AlreadyServingError, or PlaceError when the folder cannot be written."""
    path = state_dir / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PlaceError(
            f"the state folder {state_dir} cannot be written ({error.strerror}): choose another --state-dir"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyServingError(
                f"another daemon{_holder(state_dir)} uses the state folder {state_dir}: use it, stop it, or choose"
                " another --state-dir"
            ) from None
        yield
    finally:
        os.close(descriptor)


def _holder(state_dir: Path) -> str:
    try:
        facts = json.loads((state_dir / FACTS_NAME).read_text(encoding="utf-8"))
        return f" (process {int(facts['pid'])}, endpoint {facts['endpoint']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


@contextlib.contextmanager
def facts_file(state_dir: Path, facts: dict[str, Any]) -> Iterator[None]:
    """daemon.json: who serves here, for people and scripts; gone after a clean stop."""
    path = state_dir / FACTS_NAME
    partial = path.with_suffix(".json.partial")
    try:
        partial.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        log.warning("facts_not_written path=%s error=%r", path, str(error))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
