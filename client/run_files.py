"""The run's files: `save`. Content is read on the calling thread, as `open` would; nothing waits for the daemon."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from client import places, saving
from client.run_identity import RunIdentity
from client.saving import Saving


class RunFiles(RunIdentity):
    """See the module's head."""

    _saving: Saving | None = None

    def save(
        self,
        glob_str: str | os.PathLike[str],
        base_path: str | os.PathLike[str] | None = None,
        policy: Literal["live", "now", "end"] = "live",
        glob: bool = True,
    ) -> bool | list[str]:
        """Save files with the run, under their names below `base_path`; see saving.py for what the policies mean here.

        Returns the paths within the run's folder, which the daemon makes. Raises ValueError as wandb, for a pattern
        outside `base_path` and an unknown policy; UnsupportedError for a file too large for a daemon on another
        machine; UsageError after `finish`.
        """
        if not self._history.check_open("save"):
            return []
        found = saving.chosen(glob_str, base_path, policy, glob)
        if self._saving is None:
            remote = places.endpoint().startswith("tcp:")
            self._saving = Saving(self._history.emit, self._history.encode_payload, remote=remote)
        names = self._saving.save(found)
        folder = self._files_folder()
        return sorted(str(folder / name) for name in names)

    def _files_folder(self) -> Path:
        """Where the run's files are, or will be as far as one can tell: without a wait, and nothing is made."""
        report = self._stream.report
        if self._dir is not None:
            return Path(self._dir)
        if report is not None and report.directory:
            return Path(report.directory) / "files"
        return self._own_folder() / "files"
