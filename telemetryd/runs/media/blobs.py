"""The bytes that came ahead of the rows which name them, until those rows are confirmed.

    <state>/workers/<run>.blobs/<id in hex>     what a snapshot's open or held rows still need, and what is too much
                                                to keep in memory

Invariants
* A checkpoint is noted after `spill`: whatever rows it leaves behind the cursor have their bytes in files.
* A file goes when the row that used it is confirmed, so a replay that writes the row again finds it.
* `add` is idempotent: a replay brings the same bytes to the same place.
"""

from __future__ import annotations

import logging
import shutil
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from client.protocol.records import Blob, BlobRef
from telemetryd.runs.limits import BLOBS_MEMORY_MAX_BYTES

log = logging.getLogger(__name__)


class BlobStore:
    """The blobs of one run. Raises OSError where files cannot be written or read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fresh: dict[int, bytearray] = {}
        """Bytes in memory, of blobs that have no file."""
        self._fresh_bytes = 0
        self._filed: set[int] = {int(path.name, 16) for path in folder.glob("*")} if folder.is_dir() else set()
        self._used: deque[tuple[int, int]] = deque()
        """(number of the row that used it, blob with a file), oldest first."""

    def add(self, blob: Blob) -> None:
        """Take one record's bytes."""
        if blob.id in self._filed:
            with self._path(blob.id).open("r+b") as file:
                file.seek(blob.offset)
                file.write(blob.data)
            return
        content = self._fresh.setdefault(blob.id, bytearray())
        if blob.offset > len(content):
            log.error("blob_gap id=%x offset=%d has=%d", blob.id, blob.offset, len(content))
            return
        self._fresh_bytes += max(0, blob.offset + len(blob.data) - len(content))
        content[blob.offset : blob.offset + len(blob.data)] = blob.data
        if self._fresh_bytes > BLOBS_MEMORY_MAX_BYTES:
            self.spill()

    def get(self, ref: BlobRef) -> bytes | bytearray | None:
        """The bytes that are named; None when not all of them came."""
        content = self._fresh.get(ref.id)
        if content is None and ref.id in self._filed:
            content = bytearray(self._path(ref.id).read_bytes())
        return content if content is not None and len(content) == ref.size else None

    def used(self, refs: Iterable[BlobRef], row: int) -> None:
        """The row with this number was written, and has used these."""
        for ref in refs:
            self._forget(ref.id)
            if ref.id in self._filed:
                self._used.append((row, ref.id))

    def drop(self, refs: Iterable[BlobRef]) -> None:
        """Nobody needs these any more."""
        for ref in refs:
            self._forget(ref.id)
            if ref.id in self._filed:
                self._remove(ref.id)

    def confirmed(self, rows: int) -> None:
        """Rows with lower numbers are confirmed: the files that they used may go."""
        while self._used and self._used[0][0] < rows:
            self._remove(self._used.popleft()[1])

    def spill(self) -> None:
        """Bring to files what is in memory only."""
        if not self._fresh:
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for blob_id, content in self._fresh.items():
            self._path(blob_id).write_bytes(content)
            self._filed.add(blob_id)
        self._fresh.clear()
        self._fresh_bytes = 0

    def clear(self) -> None:
        """The run is finished."""
        self._fresh.clear()
        self._filed.clear()
        self._used.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, blob_id: int) -> Path:
        return self._folder / f"{blob_id:x}"

    def _forget(self, blob_id: int) -> None:
        content = self._fresh.pop(blob_id, None)
        if content is not None:
            self._fresh_bytes -= len(content)

    def _remove(self, blob_id: int) -> None:
        self._filed.discard(blob_id)
        self._path(blob_id).unlink(missing_ok=True)
