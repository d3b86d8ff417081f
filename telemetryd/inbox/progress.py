"""Out of the inbox: how far a run is confirmed, what may be deleted, and the closing and finishing of runs.

    open ──close──► closing ──finish──► finished
      ▲                └── new records, a new session ──┐
      └─────────────────────────────────────────────────┴── (Intake opens it again)

Invariants
* Cursor, snapshot and counts of a run change together.
* A batch is deleted only when it lies at or below its run's cursor.
* What closes a run is decided and stored in one transaction, so no record slips in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from client.protocol.messages import RunSpec
from telemetryd.inbox.database import Database
from telemetryd.limits import INBOX_DELETE_SLICE

_encode = msgspec.msgpack.Encoder().encode


class _Host(msgspec.Struct):
    """Of a Hello: on which host its process is."""

    host: str = ""


class _Place(msgspec.Struct):
    """Of a Hello: the process's place among the ranks."""

    rank: int | None = None
    world_size: int = 1


_decode_host = msgspec.msgpack.Decoder(_Host).decode
_decode_place = msgspec.msgpack.Decoder(_Place).decode


@dataclass(frozen=True)
class SessionEnd:
    """How a session stands: `state` "open", "ended" or "lost"; the exit code its End gave. `rank` and `world_size` are
    the process's, `launcher` is the session of whoever started it with `telemetryd run`."""

    state: str
    exit_code: int | None
    implicit: bool
    rank: int | None = None
    world_size: int = 1
    launcher: SessionEnd | None = None


@dataclass(frozen=True)
class RunState:
    """A run as the supervisor needs it. `last_batch` is the newest one (0: there was none)."""

    run_id: int
    key: str
    state: str
    life: int
    cursor: int
    last_batch: int
    closing_code: int | None
    closing_batch: int | None
    open_sessions: int

    @property
    def has_backlog(self) -> bool:
        """Whether something is stored that W&B has not confirmed."""
        return self.last_batch > self.cursor


@dataclass(frozen=True)
class Departed:
    """A training session of an open run that is over. `hello` is msgpack of messages.Hello."""

    session: str
    run_id: int
    key: str
    hello: bytes
    end: SessionEnd
    launch: str | None


class Progress:
    """Runs on their way out, on one connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def advance(
        self, run_id: int, cursor: int, snapshot: bytes, delivered: int, dropped: dict[str, int], late: int
    ) -> None:
        """Store a worker's Progress as a whole. A cursor never goes back: an older report changes nothing."""
        with self._database.transaction():
            self._database.execute(
                "UPDATE runs SET cursor = ?, snapshot = ?, delivered = ?, dropped = ?, late = ?"
                " WHERE run_id = ? AND cursor <= ?",
                (cursor, snapshot, delivered, _encode(dropped), late, run_id, cursor),
            )

    def delete_confirmed(self, run_id: int, limit: int = INBOX_DELETE_SLICE) -> int:
        """Delete up to `limit` batches at or below the run's cursor; how many it were. Again, while it is `limit`."""
        with self._database.transaction():
            return self._database.execute(
                "DELETE FROM batches WHERE batch IN (SELECT batch FROM batches WHERE run_id = ?1 AND batch <="
                " (SELECT cursor FROM runs WHERE run_id = ?1) ORDER BY batch LIMIT ?2)",
                (run_id, limit),
            ).rowcount

    def started(self, run_id: int, started: bytes) -> None:
        """Keep the worker's newest Started, msgpack."""
        with self._database.transaction():
            self._database.execute("UPDATE runs SET started = ? WHERE run_id = ?", (started, run_id))

    def close(self, run_id: int, decide: Callable[[list[SessionEnd]], int | None]) -> tuple[int, int] | None:
        """Close an open run when `decide` says so.

        It is given the training sessions of the run's present life, in the order they came, and answers the exit code
        or None. Returns (exit code, last batch) when the run is closing now.
        """
        with self._database.transaction():
            found = self._database.row("SELECT state, life, cursor FROM runs WHERE run_id = ?", (run_id,))
            if found is None or found[0] != "open":
                return None
            _, life, cursor = found
            code = decide(self._train_sessions(run_id, life))
            if code is None:
                return None
            last = max(cursor, self._last_batch(run_id))
            self._database.execute(
                "UPDATE runs SET state = 'closing', closing_code = ?, closing_batch = ? WHERE run_id = ?",
                (code, last, run_id),
            )
            return code, last

    def _train_sessions(self, run_id: int, life: int) -> list[SessionEnd]:
        rows = self._database.rows(
            "SELECT state, exit_code, implicit_end, hello, launch FROM sessions"
            " WHERE run_id = ? AND role = 'train' AND life = ? ORDER BY rowid",
            (run_id, life),
        )
        launchers = {launch: self._console(launch) for *_, launch in rows}
        found = []
        for state, code, implicit, hello, launch in rows:
            place = _decode_place(hello)
            found.append(SessionEnd(state, code, bool(implicit), place.rank, place.world_size, launchers[launch]))
        return found

    def _console(self, launch: str | None) -> SessionEnd | None:
        if launch is None:
            return None
        found = self._database.row(
            "SELECT state, exit_code, implicit_end FROM sessions WHERE launch = ? AND role = 'console'"
            " ORDER BY rowid DESC LIMIT 1",
            (launch,),
        )
        return None if found is None else SessionEnd(found[0], found[1], bool(found[2]))

    def _last_batch(self, run_id: int) -> int:
        (last,) = self._database.row("SELECT COALESCE(MAX(batch), 0) FROM batches WHERE run_id = ?", (run_id,))
        return int(last)

    def finish(self, run_id: int, exit_code: int, last: int) -> bool:
        """The worker has finished the run as it was told. False when the run was opened again meanwhile."""
        with self._database.transaction():
            changed = self._database.execute(
                "UPDATE runs SET state = 'finished', cursor = MAX(cursor, ?3) WHERE run_id = ?1"
                " AND state = 'closing' AND closing_code = ?2 AND closing_batch = ?3",
                (run_id, exit_code, last),
            ).rowcount
        return changed > 0

    def close_again(self, runs: list[int]) -> None:
        """Finished runs are closing once more, with the same exit code and last batch: they go elsewhere, too."""
        with self._database.transaction():
            for run_id in runs:
                self._database.execute(
                    "UPDATE runs SET state = 'closing' WHERE run_id = ? AND state = 'finished'"
                    " AND closing_code IS NOT NULL AND closing_batch IS NOT NULL",
                    (run_id,),
                )

    def finished_offline(self) -> list[tuple[int, str]]:
        """(run, folder) of every run that was meant to be online and was finished in a file."""
        rows = self._database.rows(
            "SELECT run_id, spec, started FROM runs WHERE state = 'finished' AND started IS NOT NULL ORDER BY run_id"
        )
        found = []
        for run_id, spec, started in rows:
            said = msgspec.msgpack.decode(started)
            if said.get("mode") == "offline" and msgspec.msgpack.decode(spec, type=RunSpec).mode == "online":
                found.append((int(run_id), str(said.get("directory", ""))))
        return found

    def active(self) -> list[RunState]:
        """Runs that are not finished, oldest first."""
        rows = self._database.rows(
            "SELECT run_id, key, state, life, cursor,"
            " COALESCE((SELECT MAX(batch) FROM batches b WHERE b.run_id = runs.run_id), 0),"
            " closing_code, closing_batch,"
            " (SELECT COUNT(*) FROM sessions s WHERE s.run_id = runs.run_id AND s.role = 'train' AND s.state = 'open')"
            " FROM runs WHERE state <> 'finished' ORDER BY run_id"
        )
        return [RunState(*row) for row in rows]

    def spec(self, run_id: int) -> RunSpec:
        """What the run's `init` was called with. Raises KeyError on an unknown run."""
        found = self._database.row("SELECT spec FROM runs WHERE run_id = ?", (run_id,))
        if found is None:
            raise KeyError(run_id)
        return msgspec.msgpack.decode(found[0], type=RunSpec)

    def open_sessions(self) -> list[tuple[str, bytes, int]]:
        """(session, hello, when last heard in ns) of every session that is open."""
        return self._database.rows("SELECT session, hello, seen_ns FROM sessions WHERE state = 'open'")

    def training_sessions(self) -> list[tuple[int, str, bytes]]:
        """(run, its key, hello) of every open session of a training process, in the order they came."""
        return self._database.rows(
            "SELECT s.run_id, r.key, s.hello FROM sessions s JOIN runs r ON r.run_id = s.run_id"
            " WHERE s.state = 'open' AND s.role = 'train' ORDER BY s.rowid"
        )

    def departed(self) -> list[Departed]:
        """Training sessions that are over, of the present lives of open runs, in the order they came."""
        rows = self._database.rows(
            "SELECT s.session, s.run_id, r.key, s.hello, s.state, s.exit_code, s.implicit_end, s.launch FROM sessions s"
            " JOIN runs r ON r.run_id = s.run_id AND r.life = s.life"
            " WHERE r.state = 'open' AND s.role = 'train' AND s.state <> 'open' ORDER BY s.rowid"
        )
        return [
            Departed(session, run_id, key, hello, SessionEnd(state, code, bool(implicit)), launch)
            for session, run_id, key, hello, state, code, implicit, launch in rows
        ]

    def launch_ended(self, launch: str | None) -> tuple[bool, int | None]:
        """(whether a launch's launcher is over or there is none, the exit code that it told)."""
        console = self._console(launch)
        return (True, None) if console is None else (console.state != "open", console.exit_code)

    def records_by_run(self) -> dict[int, int]:
        """How many records of each open run were kept, of launchers too: it rises with whatever is said. Samples of
        other nodes say nothing of training."""
        rows = self._database.rows(
            "SELECT r.run_id, COALESCE(SUM(s.acked), 0) FROM runs r JOIN sessions s ON s.run_id = r.run_id"
            " WHERE r.state = 'open' AND s.role <> 'node' GROUP BY r.run_id"
        )
        return {int(run_id): int(records) for run_id, records in rows}

    def sessions_of(self, run_id: int) -> list[str]:
        """All sessions of a run, launchers too, in the order they came."""
        rows = self._database.rows("SELECT session FROM sessions WHERE run_id = ? ORDER BY rowid", (run_id,))
        return [session for (session,) in rows]

    def nodes(self) -> dict[int, int]:
        """Nothing that `training_sessions` does not tell."""
        return {}

    def hosts_training_for(self, run_id: int) -> set[str]:
        """The hosts of all processes that train, or trained, for a run in its present life."""
        rows = self._database.rows(
            "SELECT s.hello FROM sessions s JOIN runs r ON r.run_id = s.run_id"
            " WHERE s.run_id = ? AND s.role = 'train' AND s.life = r.life",
            (run_id,),
        )
        return {_decode_host(hello).host for (hello,) in rows}

    def count_open_sessions(self) -> int:
        """How many sessions are open, launchers included; nodes, which only sample, are not."""
        (count,) = self._database.row("SELECT COUNT(*) FROM sessions WHERE state = 'open' AND role <> 'node'")
        return int(count)

    def forget(self, before_ns: int) -> list[int]:
        """Drop finished runs, their sessions and leftovers when none of the sessions was heard since; the runs."""
        with self._database.transaction():
            old = self._database.rows(
                "SELECT run_id FROM runs WHERE state = 'finished' AND created_ns < ?1 AND NOT EXISTS"
                " (SELECT 1 FROM sessions s WHERE s.run_id = runs.run_id AND (s.seen_ns >= ?1 OR s.state = 'open'))",
                (before_ns,),
            )
            for (run_id,) in old:
                self._database.execute("DELETE FROM batches WHERE run_id = ?", (run_id,))
                self._database.execute("DELETE FROM artifacts WHERE run_id = ?", (run_id,))
                self._database.execute("DELETE FROM sessions WHERE run_id = ?", (run_id,))
                self._database.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))
            self._database.execute(
                "DELETE FROM sessions WHERE run_id IS NULL AND state <> 'open' AND seen_ns < ?", (before_ns,)
            )
        return [run_id for (run_id,) in old]
