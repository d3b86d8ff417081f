"""Puts saved files into the run's folder and tells wandb of them.

    linked    the file is where the client said, in the very folder that the client saw: wandb's own `save` links it
    written   else its content, as it came along

Invariants
* Nothing is written or linked outside the run's `files` folder, whatever a name says.
* A path of the client's is followed only where `trust_paths` says that it is the daemon's own user or root, and only
  where its folder is the one that the client saw: in another container the same path may be another file.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path, PurePosixPath
from typing import Any

from client.protocol.records import Saved

log = logging.getLogger(__name__)

POLICIES = ("live", "now", "end")


class SavedFileError(Exception):
    """A file cannot be saved; the message says why."""


def problem(record: Saved) -> str | None:
    """Why a record is none that can be worked on; None when it is."""
    name = PurePosixPath(record.name)
    if not record.name or "\0" in record.name or name.is_absolute() or ".." in name.parts or str(name) == ".":
        return f"{record.name[:200]!r} is no name below the run's folder"
    if record.policy not in POLICIES:
        return f"{record.policy[:20]!r} is no policy"
    return None


def save(run: Any, record: Saved, content: bytes | bytearray | None, *, trust_paths: bool) -> str:
    """Link or write one file, and have wandb upload it; "linked" or "written". Raises SavedFileError."""
    said = problem(record)
    if said:
        raise SavedFileError(said)
    path = _visible(record) if trust_paths and (record.policy != "now" or content is None) else None
    if path is not None:
        base = Path(str(path).removesuffix(record.name))
        run.save(str(path), base_path=str(base), policy=record.policy, glob=False)
        return "linked"
    if content is None:
        raise SavedFileError(
            f"{record.name} is not where it was, or the daemon does not see it or may not follow its path, and did not"
            " come along"
        )
    _write(Path(run.dir), record.name, content)
    run.save(str(Path(run.dir) / record.name), base_path=run.dir, policy=record.policy, glob=False)
    return "written"


def _visible(record: Saved) -> Path | None:
    """The file, where this process sees the very one that the client meant."""
    if len(record.place) != 3 or not isinstance(record.place[0], str):
        return None
    path = Path(record.place[0])
    if not path.is_absolute() or not path.as_posix().endswith(f"/{record.name}"):
        return None
    try:
        folder = path.parent.stat()
    except OSError:
        return None
    return path if [folder.st_dev, folder.st_ino] == record.place[1:] and path.is_file() else None


def _write(root: Path, name: str, content: bytes | bytearray) -> None:
    """Put the content there as a whole. Raises SavedFileError where a link within the folder leads out of it."""
    target = root / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise SavedFileError(f"{name} would be written outside of the run's folder")
    beside = target.with_name(f".{target.name}.saving")
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    beside.write_bytes(content)
    os.replace(beside, target)  # noqa: PTH105 - a link that stands there is replaced, not followed


def saved_before(record: Any, folder: Path) -> list[Saved]:
    """The user's files that an earlier worker put into `folder`, by a files record of its .wandb file.

    One that was linked is linked again; one that was written is found in the earlier folder, and its content read.
    """
    found = []
    for item in record.files:
        if item.type != 0 or item.path in _OWN or item.path.startswith(_MEDIA):
            continue
        path = folder / "files" / item.path
        try:
            if path.is_symlink():
                target = Path(os.readlink(path))  # noqa: PTH115 - not further than one step, as `save` made it
                status = target.parent.stat()
                found.append(Saved(item.path, _POLICY[item.policy], [str(target), status.st_dev, status.st_ino]))
            else:
                found.append(Saved(item.path, _POLICY[item.policy], [], path.read_bytes()))
        except OSError as error:
            log.warning("saved_file_gone name=%r folder=%s reason=%r", item.path, folder, error.strerror)
    return found


_POLICY = ("now", "end", "live")
"""By wandb's number."""

_OWN = frozenset(
    {"config.yaml", "output.log", "wandb-metadata.json", "wandb-summary.json", "requirements.txt", "diff.patch"}
)
"""wandb's own files, which every worker makes again."""

_MEDIA = "media/"
"""Where wandb puts the files of media values."""
