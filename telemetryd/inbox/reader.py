"""The inbox as a run worker sees it: read only, one run, batches in order of arrival.

A reader holds no lock between calls and never writes, so a worker that hangs or dies leaves the inbox as it was.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import msgspec

from client.protocol.messages import Hello, RunSpec
from client.protocol.records import Artifact
from telemetryd.errors import InboxUnavailableError
from telemetryd.inbox.home import identity
from telemetryd.inbox.ledger import SESSIONS_OF_RUN, Account, of_sessions
from telemetryd.limits import INBOX_BUSY_TIMEOUT_S

_artifact = msgspec.msgpack.Decoder(Artifact).decode


@dataclass(frozen=True)
class RunRow:
    """A run as the inbox has it when asked. `created_ns` tells a run from one of the same number in a newer inbox."""

    run_id: int
    key: str
    spec: RunSpec
    created_ns: int
    cursor: int
    snapshot: bytes
    delivered: int
    late: int
    dropped: dict[str, int]


@dataclass(frozen=True)
class StoredBatch:
    """Records `first` and on of a session, laid out as protocol/framing.py says."""

    number: int
    session: str
    first: int
    rows: int
    body: bytes


@dataclass(frozen=True)
class PendingArtifact:
    """An artifact that has not ended. `session_state` is that of the session it came from."""

    session: str
    record: Artifact
    state: str
    manifest: str
    tries: int
    session_state: str
    peer_uid: int | None = None
    """Whose session it is, where the kernel told."""


@dataclass(frozen=True)
class EndedArtifact:
    """An artifact that has ended: its name, state and, where it failed, the reason. `key`: its session and id."""

    name: str
    state: str
    error: str | None
    key: tuple[str, str]


class InboxReader:
    """A read-only connection; belongs to the thread that makes it. Every method raises InboxUnavailableError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity = identity(path)
        self._known: tuple[int, str, int] | None = None
        """Number, key and birth of the run that was asked for."""
        try:
            self._connection = self._connect()
        except sqlite3.Error as error:
            raise InboxUnavailableError(f"the inbox {path} cannot be opened: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(str(self.path.absolute()))}?mode=ro",
            uri=True,
            timeout=INBOX_BUSY_TIMEOUT_S,
            isolation_level=None,
        )

    def follow(self) -> bool:
        """Go on in the file that the daemon has put back after somebody removed it (home.py); True when that was done.

        Its batches have the numbers they had. A file without this run is not the daemon's, and passed over.
        """
        now = identity(self.path)
        if None in now or now == self._identity or self._known is None:
            return False
        before, connection = self._connection, None
        try:
            connection = self._connect()
            theirs = connection.execute(
                "SELECT run_id, key, created_ns FROM runs WHERE run_id = ?", (self._known[0],)
            ).fetchone()
        except sqlite3.Error:
            theirs = None
        if theirs != self._known:
            if connection is not None:
                connection.close()
            return False
        assert connection is not None
        self._connection, self._identity = connection, now
        before.close()
        return True

    def run(self, run_id: int) -> RunRow:
        """The run's row. Raises also LookupError when there is no such run."""
        found = self._one(
            "SELECT key, spec, created_ns, cursor, snapshot, delivered, late, dropped FROM runs WHERE run_id = ?",
            run_id,
        )
        if found is None:
            raise LookupError(f"the inbox {self.path} has no run {run_id}")
        key, spec, created_ns, cursor, snapshot, delivered, late, dropped = found
        self._known = run_id, key, created_ns
        return RunRow(
            run_id,
            key,
            msgspec.msgpack.decode(spec, type=RunSpec),
            created_ns,
            cursor,
            snapshot,
            delivered,
            late,
            msgspec.msgpack.decode(dropped, type=dict[str, int]),
        )

    def newest_hello(self, run_id: int) -> Hello | None:
        """What the run's newest training session said of itself; None when only a launcher has spoken."""
        found = self._one(
            "SELECT hello FROM sessions WHERE run_id = ? AND role = 'train' ORDER BY rowid DESC LIMIT 1", run_id
        )
        return msgspec.msgpack.decode(found[0], type=Hello) if found else None

    def sessions(self, run_id: int) -> Account:
        """What the run's sessions took and lost themselves; nothing is known of delivery here."""
        try:
            return of_sessions(self._connection.execute(SESSIONS_OF_RUN, (run_id,)))
        except sqlite3.Error as error:
            raise InboxUnavailableError(f"the inbox {self.path} cannot be read: {error}") from error

    def peers(self, run_id: int) -> set[int | None]:
        """The users whose processes write to the run; None among them where that is not known."""
        return {uid for (uid,) in self._all("SELECT DISTINCT peer_uid FROM sessions WHERE run_id = ?", run_id)}

    def peer_uid(self, session: str) -> int | None:
        """Whose session it is; None where that is not known."""
        found = self._one("SELECT peer_uid FROM sessions WHERE session = ?", session)
        return None if found is None else found[0]

    def is_open(self, session: str) -> bool:
        """Whether a session may still say something, as far as is known."""
        found = self._one("SELECT state FROM sessions WHERE session = ?", session)
        return found is not None and found[0] == "open"

    def newest(self, run_id: int) -> int:
        """The number of the run's newest batch, 0 when there is none."""
        found = self._one("SELECT max(batch) FROM batches WHERE run_id = ?", run_id)
        return int(found[0]) if found and found[0] is not None else 0

    def batches(self, run_id: int, after: int, upto: int, max_bytes: int) -> list[StoredBatch]:
        """Batches after one number and up to another, in order, until `max_bytes` are reached (one batch at least)."""
        batches: list[StoredBatch] = []
        size = 0
        try:
            query = self._connection.execute(
                "SELECT batch, session, first, rows, body FROM batches"
                " WHERE run_id = ? AND batch > ? AND batch <= ? ORDER BY batch",
                (run_id, after, upto),
            )
            for number, session, first, rows, body in query:
                batches.append(StoredBatch(number, session, first, rows, body))
                size += len(body)
                if size >= max_bytes:
                    break
            query.close()
        except sqlite3.Error as error:
            raise InboxUnavailableError(f"the inbox {self.path} cannot be read: {error}") from error
        return batches

    def artifacts(self, run_id: int, *, recorded: bool) -> list[PendingArtifact]:
        """The run's artifacts that have not ended, oldest first; with `recorded` also those in offline files."""
        states = "('committed', 'failed')" if recorded else "('committed', 'failed', 'recorded')"
        rows = self._all(
            "SELECT a.session, a.record, a.state, a.manifest, a.tries, s.state, s.peer_uid FROM artifacts a"
            f" JOIN sessions s USING (session) WHERE a.run_id = ? AND a.state NOT IN {states} ORDER BY a.artifact",
            run_id,
        )
        return [PendingArtifact(row[0], _artifact(row[1]), *row[2:]) for row in rows]

    def artifact_info(self, session: str, identity: str) -> tuple[str, dict[str, Any]] | None:
        """(state, what W&B says) of an artifact; None when it is not known."""
        try:
            found = self._connection.execute(
                "SELECT state, info FROM artifacts WHERE session = ? AND id = ?", (session, identity)
            ).fetchone()
        except sqlite3.Error as error:
            raise InboxUnavailableError(f"the inbox {self.path} cannot be read: {error}") from error
        return None if found is None else (found[0], msgspec.msgpack.decode(found[1]) if found[1] else {})

    def ended_artifacts(self, run_id: int) -> list[EndedArtifact]:
        """The run's artifacts that have ended."""
        rows = self._all(
            "SELECT name, state, error, session, id FROM artifacts WHERE run_id = ? AND kind <> 'use'"
            " AND state IN ('committed', 'recorded', 'failed') ORDER BY artifact",
            run_id,
        )
        return [EndedArtifact(name, state, error, (session, key)) for name, state, error, session, key in rows]

    def _all(self, sql: str, run_id: int) -> list[Any]:
        try:
            return self._connection.execute(sql, (run_id,)).fetchall()
        except sqlite3.Error as error:
            raise InboxUnavailableError(f"the inbox {self.path} cannot be read: {error}") from error

    def _one(self, sql: str, key: int | str) -> Any:
        try:
            return self._connection.execute(sql, (key,)).fetchone()
        except sqlite3.Error as error:
            raise InboxUnavailableError(f"the inbox {self.path} cannot be read: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> InboxReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
