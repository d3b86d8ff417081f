"""Whether the folders that settings name can be used: the part of the checks that needs the disk.

Kept apart from load.py, because a launcher goes on without a daemon when a disk is at fault, but not when a setting
is wrong.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from telemetryd.errors import PlaceError
from telemetryd.settings.settings import DaemonSettings


def prepare(settings: DaemonSettings) -> None:
    """Make the state folder, the spool and the socket's folder, for their owner alone, and write a byte to each.

    Raises PlaceError, saying which setting to change, where one cannot be made or written.
    """
    usable(settings.state_dir, "state directory", "--state-dir or TELEMETRYD_STATE_DIR")
    usable(settings.spool_dir, "spool directory", "--spool-dir or TELEMETRYD_SPOOL_DIR")
    if folder := socket_folder(settings.endpoint):
        usable(folder, "socket's directory", "--endpoint or TELEMETRYD_ENDPOINT")


def socket_folder(endpoint: str) -> Path | None:
    """The folder of an ipc endpoint's socket; None for tcp and abstract sockets."""
    path = endpoint.removeprefix("ipc://")
    return Path(path).parent if path.startswith("/") else None


def usable(folder: Path, what: str, mend: str) -> None:
    """Make `folder` (mode 0700 where it is new) and see that files can be made in it. Raises PlaceError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
    except FileExistsError:
        raise PlaceError(f"the {what} {folder} is a file: choose another with {mend}") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise PlaceError(
            f"the {what} {folder} cannot be written ({reason}): mend its permissions or choose another with {mend}"
        ) from None
