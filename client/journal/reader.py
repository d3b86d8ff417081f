"""Reads what a dead process left in its spool folder.

Nothing is guessed: a segment is read up to its committed length, and within it up to the first record whose length or
checksum does not hold. Damage in one segment does not stop the reading of the others; it is told in `damage`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from client.journal import blobs, links
from client.journal import folder as spool_folder
from client.journal import format as fmt
from client.protocol.errors import ProtocolError
from client.protocol.framing import HEADER, HEADER_BYTES, checksum, spans
from client.protocol.messages import Hello


@dataclass(frozen=True)
class Stretch:
    """Intact records `first` to `last` in a row; `payload` holds them as framing.py lays them out."""

    first: int
    last: int
    payload: bytes


@dataclass
class SpoolContent:
    """A dead session: who it was, and its records in order. `damage` fills up while `stretches()` is consumed.

    `owner` is the user to whom the folder belongs, and all that is read in it."""

    folder: Path
    hello: Hello
    owner: int
    damage: list[str] = field(default_factory=list)

    def stretches(self) -> Iterator[Stretch]:
        """Yield the intact records, a segment at a time or less, in the order of their numbers, Links as the Blobs
        that they stand for."""
        session = bytes.fromhex(self.hello.session)
        for _, path in _ordered_segments(self.folder, self.damage, self.owner):
            found = read_segment(path, self.damage, session, self.owner)
            if found is None:
                continue
            if not links.may_hold_links(found.payload):
                yield found
                continue
            for first, last, payload in links.expand(found.payload, found.first, self._read_blob):
                yield Stretch(first, last, payload)

    def _read_blob(self, shelf: int, offset: int, size: int) -> bytes:
        path = self.folder / blobs.file_name(shelf)
        try:
            with os.fdopen(spool_folder.open_owned(path, self.owner), "rb", buffering=0) as file:
                content = os.pread(file.fileno(), size, offset)
        except OSError as error:
            self.damage.append(f"{path.name}: {error.strerror}")
            raise
        if len(content) != size:
            self.damage.append(f"{path.name}: cut at byte {offset + len(content)}, {offset + size} were written")
            raise ValueError(path.name)
        return content


def read_spool(folder: Path) -> SpoolContent:
    """Open a session's folder, whose lock the caller holds.

    Raises OSError when it cannot be read and ValueError when its Hello is damaged, without which nobody knows what run
    the records belong to.
    """
    owner = folder.lstat().st_uid
    return SpoolContent(folder, spool_folder.read_hello(folder, owner), owner)


def read_segment(
    path: Path, damage: list[str], session: bytes | None = None, owner: int | None = None
) -> Stretch | None:
    """The intact records of one segment file; None when it holds none. What is wrong is added to `damage`.

    With `session` given, the segment of another one holds none: its numbers and checksums would fit, its rows not.
    With `owner` given, a file of another user is none.
    """
    try:
        with os.fdopen(spool_folder.open_owned(path, owner), "rb") as file:
            content = file.read()
    except OSError as error:
        damage.append(f"{path.name}: {error.strerror}")
        return None
    header = _header(path, content, damage)
    if header is None:
        return None
    records, end, first = header
    if session is not None and fmt.HEADER.unpack_from(content)[2] != session:
        damage.append(f"{path.name}: a segment of another session")
        return None
    if end > len(content):
        damage.append(f"{path.name}: cut at byte {len(content)}, {end} were committed")
        end = len(content)
    intact_end, intact = _intact(content, end, first, damage, path.name)
    if intact != records and intact_end == end:
        damage.append(f"{path.name}: {intact} records where {records} were committed")
    if intact == 0:
        return None
    return Stretch(first, first + intact - 1, content[fmt.HEADER_BYTES : intact_end])


def _intact(content: bytes, end: int, first: int, damage: list[str], name: str) -> tuple[int, int]:
    """(offset behind the last intact record, how many records are intact)."""
    intact_end, count = fmt.HEADER_BYTES, 0
    try:
        view = memoryview(content)
        for start, stop in spans(content, fmt.HEADER_BYTES, end):
            expected = HEADER.unpack_from(content, start - HEADER_BYTES)[1]
            if checksum(view[start:stop], first + count) != expected:
                damage.append(f"{name}: record {first + count} does not match its checksum")
                break
            intact_end, count = stop, count + 1
    except ProtocolError as error:
        damage.append(f"{name}: {error}")
    return intact_end, count


def _header(path: Path, content: bytes, damage: list[str]) -> tuple[int, int, int] | None:
    if not any(content[: fmt.HEADER_BYTES]):
        return None  # the owner died while it made the file: nothing was in it yet
    if len(content) < fmt.HEADER_BYTES:
        damage.append(f"{path.name}: {len(content)} bytes are no segment")
        return None
    magic, committed, _, first, _ = fmt.HEADER.unpack_from(content)
    if magic != fmt.MAGIC:
        damage.append(f"{path.name}: not a segment of this format")
        return None
    records, end = committed >> 32, committed & fmt.END_MASK
    if end < fmt.HEADER_BYTES or first < 1:
        if records:
            damage.append(f"{path.name}: committed length {end}, first record {first}")
        return None
    return records, end, first


def _ordered_segments(folder: Path, damage: list[str], owner: int) -> list[tuple[int, Path]]:
    """(first record, path) of each segment with records, in the order of the records."""
    found = []
    for path in sorted(folder.glob(f"*{fmt.SUFFIX}")):
        try:
            descriptor = spool_folder.open_owned(path, owner)
            try:
                head = os.read(descriptor, fmt.HEADER_BYTES)
            finally:
                os.close(descriptor)
        except OSError as error:
            damage.append(f"{path.name}: {error.strerror}")
            continue
        header = _header(path, head, damage)
        if header is not None and header[0]:
            found.append((header[2], path))
    return sorted(found)
