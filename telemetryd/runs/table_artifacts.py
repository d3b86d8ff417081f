"""The artifacts of tables in rows, kept until W&B has committed them.

wandb-core uploads them apart from the rows: W&B may have a row and lack its table when both processes are killed, and
the row is not written again then. So each is written down before it is handed to wandb-core, and handed over once more
by the next worker that is online:

    <state>/workers/<run>.artifacts     frames, oldest first
    frame := length u32le | crc32 u32le | wandb.proto.wandb_internal_pb2.LogArtifactRequest

Invariants
* They leave the file from its front only, so that of two versions of a table the newer one is committed last.
* An artifact that W&B has taken already is known to it by its content: handed over again it makes no second version.
* A frame that a killed worker left unfinished ends the file.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections import OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

_FRAME = struct.Struct("<II")
_REWRITE_BYTES = 256 << 10
"""What has been committed leaves the file when it is so much, or all of it: seldom, for the rest is copied."""


class TableArtifacts:
    """See the module's head. Names are the client's names of artifacts. Raises OSError where the file cannot be
    written. `committed` and `refused` are safe from any thread; the rest is for one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._frames: OrderedDict[str, int] = OrderedDict()
        """Name and size of each frame in the file."""
        self._committed: set[str] = set()
        self._refused: deque[str] = deque()

    def add(self, name: str, request: bytes) -> None:
        """Write one down that is about to be handed over; one that is there already stays where it is."""
        if name in self._frames:
            return
        frame = _FRAME.pack(len(request), zlib.crc32(request)) + request
        with self._path.open("ab") as file:
            file.write(frame)
        self._frames[name] = len(frame)

    def stored(self) -> Iterator[bytes]:
        """What earlier workers wrote down, oldest first."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        at = 0
        while at + _FRAME.size <= len(data):
            length, crc = _FRAME.unpack_from(data, at)
            request = data[at + _FRAME.size : at + _FRAME.size + length]
            if len(request) < length or zlib.crc32(request) != crc:
                break
            at += _FRAME.size + length
            yield request
        if at < len(data):
            log.warning("table_artifacts_cut path=%s bytes=%d of=%d", self._path, at, len(data))
            os.truncate(self._path, at)

    def take(self, name: str, request: bytes) -> bool:
        """Count one of `stored`; False for a name that was there before."""
        if name in self._frames:
            return False
        self._frames[name] = _FRAME.size + len(request)
        return True

    def committed(self, name: str) -> None:
        """W&B has it."""
        self._committed.add(name)

    def refused(self, reason: str) -> None:
        """W&B does not take one; it stays, a later worker tries it again."""
        self._refused.append(reason)

    def refusals(self) -> Iterator[str]:
        """Why some were refused, each reason once."""
        while self._refused:
            yield self._refused.popleft()

    def tidy(self) -> None:
        """Drop what is committed from the file, when that is worth it."""
        if not self._committed:
            return
        count = size = 0
        for name, length in self._frames.items():
            if name not in self._committed:
                break
            count, size = count + 1, size + length
        if not count or (count < len(self._frames) and size < _REWRITE_BYTES):
            return
        for _ in range(count):
            self._committed.discard(self._frames.popitem(last=False)[0])
        if not self._frames:
            self._path.unlink(missing_ok=True)
            return
        rest = self._path.with_suffix(self._path.suffix + ".new")
        rest.write_bytes(self._path.read_bytes()[size:])
        rest.replace(self._path)
