"""What a run needs of its session, as an interface: `session.Session` in training, a recording one in tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from client.fastlog import Tail
from client.ledger import Ledger
from client.payload import Payload
from client.protocol.messages import Hello, Report
from client.protocol.records import Record
from client.sender import Question


class Stream(Protocol):
    """See session.Session, whose promises these are."""

    hello: Hello
    append: Callable[..., bool]
    tail: Tail | None
    """Where the next record goes; None: not into a journal, or only `append` knows."""

    @property
    def folder(self) -> Path | None:
        """Where this process's journal is on disk; None while it is in memory only."""

    def record(self, record: Record) -> bool:
        """Encode and append a record that is not a row."""

    def place(self, payload: Payload) -> int:
        """Append the bytes of a media value; the id by which a later record may name them, 0 when they are lost."""

    @property
    def ledger(self) -> Ledger:
        """Where this process's rows stand."""

    @property
    def report(self) -> Report | None:
        """The daemon's newest word on the run."""

    @property
    def connected(self) -> bool:
        """Whether a daemon has taken the session."""

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until a daemon has taken the session."""

    def wait_acked(self, timeout_s: float) -> bool:
        """Wait until everything appended so far is in the daemon's inbox."""

    def wait_report(self, predicate: Callable[[Report], bool], timeout_s: float) -> Report | None:
        """Wait for a report that fulfils the predicate."""

    def ask(self, kind: str, args: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Ask the daemon. Raises NoAnswerError."""

    def post(self, kind: str, args: dict[str, Any]) -> Question:
        """Ask the daemon without waiting. Raises NoAnswerError when that cannot be."""

    @property
    def stage_root(self) -> Path | None:
        """The folder for the content of artifacts; None where none is staged, as in tests."""

    def close(self, timeout_s: float) -> bool:
        """Ship what is left and end the session; whether the daemon has everything."""
