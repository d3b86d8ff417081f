"""`restore`: a file of a run in W&B, downloaded through the daemon, which has the key.

Pieces of RESTORE_PIECE_BYTES, one question each; the file appears under its name when it is whole.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any

from client.errors import NoAnswerError
from client.limits import RESTORE_POLL_S, RESTORE_TIMEOUT_S
from client.tokens import token_hex

Ask = Callable[..., dict[str, Any]]
"""`artifacts.remote.Remote.ask`."""


def restore_file(
    ask: Ask, name: str, run_path: str, replace: bool, root: str, timeout_s: float = RESTORE_TIMEOUT_S
) -> IO[str] | None:
    """The file, open for reading, under `root`; None when the run has no such file.

    One that is there already is opened as it is, unless `replace`. Raises ValueError for a name that is not below the
    root, and for a file that W&B knows without its content; CommError when W&B refuses, NoAnswerError when nobody
    answers within `timeout_s`.
    """
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise ValueError(f"restore({name!r}): the name of a run's file is relative and stays below the root")
    target = Path(root) / name
    if target.exists() and not replace:
        return target.open()
    deadline_s = time.monotonic() + timeout_s
    beside = target.with_name(f".{target.name}.{token_hex(4)}")
    try:
        if not _download(ask, name, run_path, beside, deadline_s):
            return None
        beside.replace(target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
    return target.open()


def _download(ask: Ask, name: str, run_path: str, beside: Path, deadline_s: float) -> bool:
    ticket, offset, stream = token_hex(8), 0, None
    try:
        while (left_s := deadline_s - time.monotonic()) > 0:
            answer = ask("run_file", left_s, path=run_path, file=name, ticket=ticket, offset=offset)
            if answer["state"] == "absent":
                return False
            if answer["state"] == "running":
                time.sleep(min(RESTORE_POLL_S, max(0.0, deadline_s - time.monotonic())))
                continue
            if stream is None:
                beside.parent.mkdir(parents=True, exist_ok=True)
                stream = beside.open("wb")
            stream.write(answer["data"])
            offset += len(answer["data"])
            if offset >= answer["size"]:
                return True
    finally:
        if stream is not None:
            stream.close()
    raise NoAnswerError(
        f"{name} of {run_path} did not come in time: give restore more time, or look at the daemon's log"
    )
