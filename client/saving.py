"""`run.save`: which files are meant, what W&B calls them, and how their content gets to the daemon.

    policy "now"           the content as it is at the call goes along
    "live" and "end"       the daemon, where it sees the file, links it as wandb does, and wandb-core uploads what is
                           in it: as it changes, and at the end. What the daemon may not see goes along, at the call,
                           when it changes ("live") and at `finish` when it has changed: everything over TCP, small
                           files always, in case the file is removed or the daemon is in another container.

Names are relative to `base_path`, as in wandb, and stay below it.
"""

from __future__ import annotations

import glob as globbing
import os
import threading
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

from client import guard
from client.errors import UnsupportedError
from client.limits import SAVE_ALONG_BYTES, SAVE_LIVE_PERIOD_S, SAVE_MAX_BYTES
from client.media import files
from client.protocol.records import Saved
from client.term import termlog, termwarn

POLICIES = ("live", "now", "end")


class SavedFile:
    """A file that was saved: its path, its name in the run, and what it looked like when its content went along."""

    def __init__(self, path: Path, name: str, policy: str) -> None:
        self.path = path
        self.name = name
        self.policy = policy
        self.sent: tuple[int, int, int] | None = None

    def look(self) -> tuple[int, int, int]:
        """What tells that the content is another. Raises OSError."""
        status = self.path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns


def chosen(
    glob_str: str | bytes | os.PathLike[str], base_path: str | os.PathLike[str] | None, policy: str, glob: bool
) -> list[SavedFile]:
    """The files that a `save` call means. Raises ValueError as wandb, for names outside `base_path` among others."""
    if isinstance(glob_str, bytes):
        glob_str = glob_str.decode("utf-8")
    if isinstance(glob_str, str) and glob_str.startswith(("gs://", "s3://")):
        termlog(f"{glob_str} is a cloud storage url, can't save file to W&B.")
        return []
    pattern = _absolute(glob_str)
    if base_path is None and PurePath(glob_str).is_absolute():
        termwarn(
            "Saving files without folders. If you want to preserve subdirectories pass base_path to wandb.save, i.e."
            ' wandb.save("/mnt/folder/file.h5", base_path="/mnt")',
            repeat=False,
        )
        base_path = pattern.parent.parent
    if policy not in POLICIES:
        raise ValueError('Only "live", "end" and "now" policies are currently supported.')
    base = _absolute("." if base_path is None else base_path)
    _check(pattern, base)
    found = _matches(pattern, base, glob)
    return [SavedFile(path, path.relative_to(base).as_posix(), policy) for path in found]


def _absolute(path: str | os.PathLike[str]) -> PurePath:
    """Without `..`, links not followed: names are those that the user wrote."""
    return PurePath(os.path.abspath(path))  # noqa: PTH100 - Path.resolve follows links


def _check(pattern: PurePath, base: PurePath) -> None:
    if not pattern.is_relative_to(base):
        raise ValueError("Glob may not walk above the base path")
    if pattern == base:
        raise ValueError("Glob cannot be the same as the base path")
    if pattern.relative_to(base).parts[0] == "*":
        raise ValueError("Glob may not start with '*' relative to the base path")


def _matches(pattern: PurePath, base: PurePath, glob: bool) -> list[Path]:
    relative = str(pattern.relative_to(base))
    if glob:
        found = [Path(path) for path in sorted(globbing.glob(str(pattern)))]  # noqa: PTH207 - wandb's rules, not Path's
        if not found and os.path.lexists(pattern):
            termwarn(
                f"No files found at glob pattern {relative!r}, but a file exists at that literal path. If you meant to"
                " match it literally rather than as a glob pattern, call save() with glob=False.",
                repeat=False,
            )
    else:
        found = [Path(pattern)] if os.path.lexists(pattern) else []
        if not found and globbing.escape(relative) != relative:
            termwarn(
                f"No file found at literal path {str(pattern)!r}, and it looks like it contains glob metacharacters"
                " ('*', '?', or '[]'). If you meant to use a glob pattern, call save() with glob=True (the default).",
                repeat=False,
            )
    kept = []
    for path in found:
        if not path.is_relative_to(base):
            raise ValueError(f"{path} is not below the base path {base}")
        if path.is_dir():
            termwarn(f"{path} is a folder and is not saved: save its files, as in save('{relative}/*')", repeat=False)
        else:
            kept.append(path)
    return kept


class Saving:
    """The files that a run has saved. `emit` journals a record, `encode` makes a value's wire form, bytes ahead."""

    def __init__(self, emit: Callable[[Saved], None], encode: Callable[[Any], Any], *, remote: bool) -> None:
        """`remote`: the daemon does not see this machine's files."""
        self._emit = emit
        self._encode = encode
        self._remote = remote
        self._files: dict[str, SavedFile] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def save(self, found: list[SavedFile]) -> list[str]:
        """Send what `chosen` gave; the names of those that could be read. Raises UnsupportedError for one too large."""
        if self._remote:
            for file in found:
                _check_size(file)
        with self._lock:
            return [file.name for file in found if self._send(file)]

    def look(self, *, at_end: bool = False) -> None:
        """Send again what has changed: live files, and at the end those of the policy "end", too."""
        with self._lock:
            for file in list(self._files.values()):
                if file.policy == "live" or at_end:
                    self._send_changed(file)

    def close(self) -> None:
        """The run ends: send what has changed, for the last time."""
        self._end.set()
        self.look(at_end=True)

    def orphan(self) -> None:
        """In a forked child: nothing is saved there."""
        self._lock = threading.Lock()
        self._files.clear()
        self._end.set()

    def _send_changed(self, file: SavedFile) -> None:
        try:
            if file.sent is not None and file.look() != file.sent:
                self._send(file)
        except FileNotFoundError:
            pass  # what it held when it was last seen is what is saved
        except OSError as error:
            guard.swallow("save.look", error)

    def _send(self, file: SavedFile) -> bool:
        try:
            folder = file.path.parent.stat()
            looks = file.look()
            along = file.policy == "now" or self._remote or looks[1] <= SAVE_ALONG_BYTES
            content = files.content(file.path) if along and looks[1] <= SAVE_MAX_BYTES else None
        except OSError as error:
            termwarn(f"{file.path} cannot be read and is not saved: {error.strerror}", repeat=False)
            return False
        if file.policy == "now" and content is None:
            termwarn(f"{file.path} is large: its content is what the daemon finds in it, not that of now", repeat=False)
        file.sent = looks if content is not None else None
        place = [] if self._remote else [str(file.path), folder.st_dev, folder.st_ino]
        self._emit(Saved(file.name, file.policy, place, self._encode(content) if content is not None else None))
        if file.policy != "now":
            self._files[file.name] = file
            self._watch(file)
        return True

    def _watch(self, file: SavedFile) -> None:
        if not self._remote or file.policy != "live" or self._thread is not None:
            return
        self._thread = threading.Thread(target=self._run, name="telemetryd-files", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # as in Sender.start; `close` looks once more
            guard.swallow("save.watch", error)

    def _run(self) -> None:
        while not self._end.wait(SAVE_LIVE_PERIOD_S):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - whatever it was, training must not notice
                guard.swallow("save.look", error)


def _check_size(file: SavedFile) -> None:
    try:
        size = file.path.stat().st_size
    except OSError:
        return  # said when it is sent
    if size > SAVE_MAX_BYTES:
        raise UnsupportedError(
            f"{file.path} has {size} bytes; save() sends up to {SAVE_MAX_BYTES} to a daemon on another machine:"
            " log it as an artifact, with run.log_artifact(path, type='file')"
        )
