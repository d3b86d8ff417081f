"""The in-memory session of client.testing, checked by the type checker to be what a run expects of a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from client.history import History
from client.journal.format import HEADER_BYTES
from client.journal.writer import JournalWriter
from client.protocol import framing
from client.protocol.messages import Hello
from client.protocol.records import Row, decode
from client.session import Session
from client.stream import Stream
from client.testing import RecordedRun, Recording, RecordingSession, recording

__all__ = ["RecordedRun", "Recording", "RecordingSession", "history", "recording", "rows"]

_as_stream: Callable[[Hello], Stream] = RecordingSession


def _real_session_is_a_stream(session: Session) -> Stream:
    return session


def folder_of(stream: Stream) -> Path | None:
    """Where a session is spooled."""
    return stream.folder


class Journaled(Sequence[bytes]):
    """The bodies in a journal in memory, read anew at each look; their checksums hold."""

    def __init__(self) -> None:
        self.writer = JournalWriter(bytes(16), None)

    def _read(self) -> list[bytes]:
        found: list[bytes] = []
        for segment in self.writer.segments():
            payload = memoryview(segment.bytes)[HEADER_BYTES : segment.committed[1]]
            for number, body in framing.bodies(payload, segment.first):
                assert body is not None, f"the checksum of record {number} does not hold"
                found.append(bytes(body))
            payload.release()
        return found

    def __getitem__(self, index: Any) -> Any:
        return self._read()[index]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __eq__(self, other: object) -> bool:
        return self._read() == other

    __hash__ = None  # type: ignore[assignment]


def history(
    append: Callable[..., bool] | None = None, *, journal: Journaled | None = None, compiled: bool = True
) -> tuple[History, Journaled]:
    """A History of its own on a journal in memory, and the bodies that it appends. `compiled` False: through Python."""
    journal = journal or Journaled()
    tail = journal.writer if compiled and append is None else None
    return History("testrun1", append or journal.writer.append, 1_000_000_000, tail=tail), journal


def rows(bodies: Iterable[bytes]) -> list[Row]:
    """The rows among recorded bodies."""
    return [record for record in map(decode, bodies) if isinstance(record, Row)]
