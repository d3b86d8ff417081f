"""Sessions that have begun on this machine and have not said hello yet: a run that they write to does not close.

A job's ranks begin together, but on a busy machine one may have ended before another is heard of. What has begun shows
in the spool, where every session makes its folder first.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from client.journal.folder import HELLO_NAME
from client.protocol.messages import Hello
from telemetryd.inbox.database import Database

_SESSION = re.compile(r"[0-9a-f]{32}")
_decode_hello = msgspec.msgpack.Decoder(Hello).decode


def is_awaited(database: Database, spool_dir: Path, key: str) -> bool:
    """Whether a session of the run `key` lies in the spool that the inbox does not know. Raises InboxError."""
    try:
        names = [entry.name for entry in spool_dir.iterdir() if _SESSION.fullmatch(entry.name)]
    except OSError:
        return False
    for name in names:
        if database.row("SELECT 1 FROM sessions WHERE session = ?", (name,)) is not None:
            continue
        try:
            hello = _decode_hello((spool_dir / name / HELLO_NAME).read_bytes())
        except (OSError, msgspec.MsgspecError):
            continue
        if hello.role == "train" and hello.run is not None and hello.run.key() == key:
            return True
    return False
