"""Notices that a file which holds the W&B key was written, replaced, mounted or removed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from telemetryd.limits import KEY_WATCH_INTERVAL_S
from telemetryd.settings import api_key

Look = tuple[int, int, int] | None
"""Inode, size and time of the last change; None where there is no file."""


class KeyWatch:
    """The files of api_key.watched_files, looked at now and then. `now_s` is any steadily rising clock."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._seen = self._look()
        self._next_s = 0.0

    def changed(self, now_s: float) -> bool:
        """Whether one of the files is not what it was."""
        if now_s < self._next_s:
            return False
        self._next_s = now_s + KEY_WATCH_INTERVAL_S
        before, self._seen = self._seen, self._look()
        return before != self._seen

    def _look(self) -> list[Look]:
        return [_identity(path) for path in api_key.watched_files(self._environ)]


def _identity(path: Path) -> Look:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
