"""The content of artifacts that offline runs have recorded: beside the run's folder, until `wandb sync` uploads it.

    <run's dir>/wandb/artifacts/<run id>/<artifact>/    manifest.msgpack, 0, 1 …

It may be the only copy there is, so nothing here is ever removed to make room: at the cap a new artifact is refused.
The cap is on everything below `artifacts`, whichever run has put it there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from client.protocol.artifacts import MANIFEST_NAME, PARTIAL_SUFFIX
from telemetryd.inbox import content as contents
from telemetryd.inbox.content import Content
from telemetryd.runs.errors import ArtifactRefusedError


class Kept:
    """One run's part of it."""

    def __init__(self, root: Path, run_id: str, max_bytes: int | None) -> None:
        """`root` is shared by the runs of a directory; `max_bytes` None: no cap."""
        self._root = root
        self.folder = root / run_id
        self._max_bytes = max_bytes

    def find(self, artifact: str, digest: str) -> Content | None:
        """The content whose manifest has this SHA-256, where it is here. Raises ContentError, OSError."""
        where = self.folder / artifact
        manifest = contents.whole(where, digest) if where.is_dir() else None
        return None if manifest is None else Content(where, manifest, "kept")

    def take(self, artifact: str, content: Content) -> Content:
        """Keep staged content, too. Raises ArtifactRefusedError at the cap, OSError."""
        if content.place == "kept":
            return content
        target = self.folder / artifact
        partial = target.with_name(f"{artifact}{PARTIAL_SUFFIX}")
        shutil.rmtree(partial, ignore_errors=True)
        self._check_room(sum(content.manifest.sizes().values()))
        partial.mkdir(mode=0o700, parents=True)
        for path in content.folder.iterdir():
            if path.name != MANIFEST_NAME:
                _link(path, partial / path.name)
        shutil.copyfile(content.folder / MANIFEST_NAME, partial / MANIFEST_NAME)
        partial.rename(target)
        return Content(target, content.manifest, "kept")

    def _check_room(self, size_bytes: int) -> None:
        used = contents.size_of(self._root)
        if self._max_bytes is not None and used + size_bytes > self._max_bytes:
            raise ArtifactRefusedError(
                f"the content of offline runs is at its cap: {used} bytes wait in {self._root} for `wandb sync`, and"
                f" this has {size_bytes}; the cap is {self._max_bytes} (artifact_max_bytes). Sync those runs and remove"
                " their folders there, or raise it"
            )


def _link(source: Path, target: Path) -> None:
    """A second name for the content where the disk is the same, a copy where it is not: a worker that dies loses
    none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
