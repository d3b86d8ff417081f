"""Artifacts in the inbox: announced, staged, worked off by the run's worker, ended.

    (record Artifact) ─► announced ─► staged ─► uploading ─► committed      in W&B
                             │           │          ├──────► recorded       in an offline run's file, with its content
                             └───────────┴──────────┴──────► failed         `error` says why

Invariants
* An end state never changes; but what was recorded for want of a key goes on when there is one.
* A link and a use have no content: they are staged from the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from client.protocol import records
from client.protocol.artifacts import IDENTITY
from telemetryd.inbox.database import Database
from telemetryd.limits import ARTIFACT_ERROR_MAX_CHARS, SQLITE_INT_MAX

ENDS = ("committed", "recorded", "failed")

_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True)
class Standing:
    """How one artifact stands."""

    session: str
    id: str
    run_id: int
    kind: str
    name: str
    state: str
    manifest: str
    size_bytes: int
    error: str | None
    info: dict[str, Any] | None


_COLUMNS = "session, id, run_id, kind, name, state, manifest, size_bytes, error, info"


class Artifacts:
    """The table, on one connection. Writers run inside `Database.transaction()`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, run_id: int, session: str, record: records.Artifact | records.Staged, now_ns: int) -> None:
        """Keep what a session says of an artifact. What names no artifact is passed over."""
        if not IDENTITY.fullmatch(record.id):
            return
        if isinstance(record, records.Artifact):
            self._database.execute(
                "INSERT OR IGNORE INTO artifacts (run_id, session, id, kind, name, record, state, created_ns)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    run_id, session, record.id, record.kind, record.name[:1000], records.encode(record),
                    "announced" if record.kind == "log" else "staged", now_ns,
                ),
            )  # fmt: skip
            return
        state = "failed" if record.error is not None else "staged"
        self._database.execute(
            "UPDATE artifacts SET state = ?, manifest = ?, size_bytes = ?, error = ?"
            " WHERE session = ? AND id = ? AND state = 'announced'",
            (
                state,
                record.manifest,
                min(max(record.size_bytes, 0), SQLITE_INT_MAX),
                record.error and record.error[:ARTIFACT_ERROR_MAX_CHARS],
                session,
                record.id,
            ),
        )

    def update(self, session: str, identity: str, state: str, error: str | None, info: dict[str, Any] | None) -> str:
        """What the run's worker says: the artifact's kind, or an empty str when that is no news."""
        with self._database.transaction():
            changed = self._database.execute(
                "UPDATE artifacts SET state = ?, error = ?, info = ?, tries = tries + ?"
                " WHERE session = ? AND id = ? AND state NOT IN ('committed', 'failed')",
                (
                    state,
                    error and error[:ARTIFACT_ERROR_MAX_CHARS],
                    None if info is None else _encode(info),
                    1 if state == "uploading" else 0,
                    session,
                    identity,
                ),
            ).rowcount
            found = self._database.row("SELECT kind FROM artifacts WHERE session = ? AND id = ?", (session, identity))
        return str(found[0]) if changed and found else ""

    def standing(self, session: str, identity: str) -> Standing | None:
        """How an artifact stands; None when it is not known."""
        found = self._select("WHERE session = ? AND id = ?", (session, identity))
        return found[0] if found else None

    def of_session(self, session: str) -> list[Standing]:
        """Every artifact of a session."""
        return self._select("WHERE session = ?", (session,))

    def listed(self, limit: int) -> list[Standing]:
        """Those that have not ended, and the newest that failed."""
        return self._select(
            "WHERE kind <> 'use' AND (state NOT IN ('committed', 'recorded', 'failed') OR artifact IN"
            " (SELECT artifact FROM artifacts WHERE state = 'failed' ORDER BY artifact DESC LIMIT ?))"
            " ORDER BY artifact LIMIT ?",
            (limit, 2 * limit),
        )

    def counts(self) -> dict[str, int]:
        """How many artifacts are in each state."""
        return dict(self._database.rows("SELECT state, COUNT(*) FROM artifacts WHERE kind = 'log' GROUP BY state"))

    def sessions(self) -> set[str]:
        """Sessions that have an artifact which has not ended."""
        return {
            session
            for (session,) in self._database.rows(
                "SELECT DISTINCT session FROM artifacts WHERE state NOT IN ('committed', 'recorded', 'failed')"
            )
        }

    def _select(self, where: str, arguments: tuple[Any, ...]) -> list[Standing]:
        rows = self._database.rows(f"SELECT {_COLUMNS} FROM artifacts {where}", arguments)
        return [Standing(*(*row[:9], row[9] and msgspec.msgpack.decode(row[9]))) for row in rows]
