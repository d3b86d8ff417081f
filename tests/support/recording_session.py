"""The in-memory session of client.testing, checked by the type checker to be what a run expects of a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from client.history import History
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


def history(append: Callable[..., bool] | None = None) -> tuple[History, list[bytes]]:
    """A History of its own, and the bodies it appends."""
    bodies: list[bytes] = []

    def keep(body: bytes, is_row: bool = True) -> bool:
        bodies.append(body)
        return True

    return History("testrun1", append or keep, 1_000_000_000), bodies


def rows(bodies: list[bytes]) -> list[Row]:
    """The rows among recorded bodies."""
    return [record for record in map(decode, bodies) if isinstance(record, Row)]
