"""Removes staged content that is not needed any more: of artifacts that have ended, and of dead processes that never
got to announce one.

What is on its way is never touched. A session's folder in the spool goes when its owner is dead (the lock is free), its
journal has been adopted, and nothing is left in it.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from client.journal.folder import LOCK_NAME, OwnerLock
from client.protocol.artifacts import IDENTITY, PARTIAL_SUFFIX
from telemetryd.inbox import content
from telemetryd.inbox.artifacts import ENDS
from telemetryd.inbox.content import Places
from telemetryd.inbox.store import Inbox
from telemetryd.limits import WANDB_CACHE_MAX_BYTES

log = logging.getLogger(__name__)


class Sweep:
    """Looks through both roots. Used by one thread, the inbox's connection with it."""

    def __init__(self, inbox: Inbox, places: Places, spool_dir: Path) -> None:
        self._inbox = inbox
        self._places = places
        self._spool_dir = spool_dir

    def round(self) -> int:
        """Remove what is to go; how many artifacts' content it was. Raises InboxError, OSError."""
        removed = 0
        for root in (self._places.spool_root, self._places.wire_root):
            if root is None or not root.is_dir():
                continue
            for folder in root.iterdir():
                if IDENTITY.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
                    removed += self._session(folder, in_spool=root == self._places.spool_root)
        return removed

    def trim_cache(self, state_dir: Path) -> None:
        """Hold wandb's own cache to its cap."""
        content.trim(state_dir / content.WANDB_CACHE, WANDB_CACHE_MAX_BYTES)

    def _session(self, folder: Path, *, in_spool: bool) -> int:
        removed = 0
        left = []
        for path in folder.iterdir():
            identity = path.name.removesuffix(PARTIAL_SUFFIX)
            if not IDENTITY.fullmatch(identity):
                continue
            standing = self._inbox.artifacts.standing(folder.name, identity)
            if standing is not None and standing.state in ENDS:
                content.remove(folder / identity)
                removed += 1
            else:
                left.append((path, standing is None))
        if in_spool:
            return removed + self._owned(folder, [path for path, unknown in left if unknown], empty=not left)
        for path, unknown in left:
            if unknown:
                shutil.rmtree(path, ignore_errors=True)
        if not left:
            shutil.rmtree(folder, ignore_errors=True)
        return removed

    def _owned(self, folder: Path, unknown: list[Path], *, empty: bool) -> int:
        """The folder of a process that may live: only under its lock, and when its journal is not there any more."""
        if (not unknown and not empty) or (self._spool_dir / folder.name).exists():
            return 0
        if not (folder / LOCK_NAME).exists() and not empty:
            return 0  # being made
        lock = OwnerLock.take(folder)
        if lock is None:
            return 0
        try:
            for path in unknown:
                log.info("staging_removed folder=%s reason=%r", path, "nobody ever announced it")
                shutil.rmtree(path, ignore_errors=True)
            if empty:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            lock.release()
        return len(unknown)
