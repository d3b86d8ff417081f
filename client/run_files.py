"""The run's files: `save`, `log_code`, `restore`. Only `restore` waits for the daemon, and for W&B."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from client import code_files, places
from client.code_files import Choice
from client.limits import RESTORE_TIMEOUT_S
from client.run_identity import RunIdentity
from client.term import termwarn
from client.util import make_artifact_name_safe

if TYPE_CHECKING:
    from client.artifacts.artifact import Artifact
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
        from client import saving

        found = saving.chosen(glob_str, base_path, policy, glob)
        if self._saving is None:
            remote = places.endpoint().startswith("tcp:")
            self._saving = saving.Saving(self._history.emit, self._history.encode_payload, remote=remote)
        names = self._saving.save(found)
        folder = self._files_folder()
        return sorted(str(folder / name) for name in names)

    def log_code(
        self,
        root: str | None = ".",
        name: str | None = None,
        include_fn: Choice = code_files.is_code,
        exclude_fn: Choice = code_files.is_wandbs,
    ) -> Artifact | None:
        """Log the source files below `root` as an artifact of type "code"; None, with a warning, when there are none.

        The folder is walked here, because `include_fn` and `exclude_fn` (of the path, or of path and root) are the
        caller's; what the files hold is read as `log_artifact` reads it. `name`: "source-PROJECT-PROGRAM" by default.
        Raises UsageError after `finish`.
        """
        if not self._history.check_open("log_code"):
            return None
        from client.artifacts.code import CodeArtifact
        from client.facts.gather import Gatherer

        if name is None:
            program = Gatherer(self._spec.metadata, self._spec.settings, code=False).place_program()
            name = make_artifact_name_safe(f"source-{self._spec.project}-{program.get('program_relpath')}")
        artifact = CodeArtifact(code_files.artifact_name(name))
        files = list(code_files.found(str(Path(root).absolute()), include_fn, exclude_fn)) if root is not None else []
        for path, below in files:
            artifact.add_file(path, name=below)
        if not files:
            termwarn("No relevant files were detected in the specified directory. No code will be logged to your run.")
            return None
        return self._log_artifact("log_code", artifact, None, None, None, None)

    def restore(
        self,
        name: str,
        run_path: str | None = None,
        replace: bool = False,
        root: str | None = None,
        *,
        timeout: float = RESTORE_TIMEOUT_S,
    ) -> IO[str] | None:
        """Download a file of a run, "entity/project/id" (this one by default), to `root` (the run's folder by default).

        Returns it open for reading; None when the run has no such file. One that is there is opened as it is, unless
        `replace`. Waits for W&B, at most `timeout` seconds; see restoring.py for what it raises.
        """
        from client.restoring import restore_file

        remote = self._remote()
        folder = root if root is not None else str(self._files_folder())
        return restore_file(remote.ask, name, run_path or self.path, replace, folder, timeout)

    def _files_folder(self) -> Path:
        """Where the run's files are, or will be as far as one can tell: without a wait, and nothing is made."""
        report = self._stream.report
        if self._dir is not None:
            return Path(self._dir)
        if report is not None and report.directory:
            return Path(report.directory) / "files"
        return self._own_folder() / "files"
