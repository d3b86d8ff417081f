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


class FolderLock:
    """One daemon per state folder, held until `release`."""

    def __init__(self, state_dir: Path) -> None:
        """Raises AlreadyServingError, or PlaceError when the folder cannot be written."""
        self._state_dir = state_dir
        self._path = state_dir / LOCK_NAME
        self._descriptor = self._take()

    def _take(self) -> int:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PlaceError(
                f"the state folder {self._state_dir} cannot be written ({error.strerror}): choose another --state-dir"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise AlreadyServingError(
                f"another daemon{_holder(self._state_dir)} uses the state folder {self._state_dir}: use it, stop it,"
                " or choose another --state-dir"
            ) from None
        return descriptor

    def hold_on(self) -> None:
        """Make the folder and the lock anew where somebody has removed them. Raises as the constructor does."""
        make(self._state_dir)
        try:
            there = os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            there = False
        if not there:
            before, self._descriptor = self._descriptor, self._take()
            os.close(before)

    def release(self) -> None:
        """Let another daemon have the folder."""
        os.close(self._descriptor)


def _holder(state_dir: Path) -> str:
    try:
        facts = json.loads((state_dir / FACTS_NAME).read_text(encoding="utf-8"))
        return f" (process {int(facts['pid'])}, endpoint {facts['endpoint']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def write_facts(state_dir: Path, facts: dict[str, Any]) -> None:
    """daemon.json: who serves here, for people and scripts."""
    path = state_dir / FACTS_NAME
    partial = path.with_suffix(".json.partial")
    try:
        partial.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        log.warning("facts_not_written path=%s error=%r", path, str(error))


@contextlib.contextmanager
def facts_file(state_dir: Path, facts: dict[str, Any]) -> Iterator[None]:
    """`write_facts`; gone after a clean stop."""
    write_facts(state_dir, facts)
    try:
        yield
    finally:
        (state_dir / FACTS_NAME).unlink(missing_ok=True)
