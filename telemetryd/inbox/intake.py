"""Into the inbox: sessions say hello, their records are kept once each and in order, and they end.

Invariants
* A session's `acked` never falls, and is stored in the same transaction as the records it speaks of.
* Records are stored in rising order per session; those up to `acked` are never stored again.
* A row never waits in a run that is closing or finished: new records open the run again (a new life).
* A launcher's output has no run (run_id NULL) while no run of its launch is open; it goes to the next one that is.
* A node's samples are taken while their run is open; it neither opens nor keeps one open. Others are acked and gone.
* What a node tells of its machine (Event) is told to its run in the transaction that keeps it: once, or not yet.

Every method must run inside `Database.transaction()`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from client.protocol import framing, records
from client.protocol.errors import MalformedError
from client.protocol.framing import Buffer
from client.protocol.messages import Hello, RunSpec
from telemetryd.errors import GapError, SessionClaimError, UnknownSessionError
from telemetryd.inbox.artifacts import Artifacts
from telemetryd.inbox.database import Database
from telemetryd.inbox.home import Home
from telemetryd.inbox.peers import joined
from telemetryd.inbox.survey import Survey, add_losses, survey
from telemetryd.limits import EARLY_OUTPUT_KEPT_NS, EARLY_OUTPUT_MAX_BYTES, SQLITE_INT_MAX

DAEMON = "daemon"
"""Stands for a session in what the daemon itself says; no session has such a name."""

_encode = msgspec.msgpack.Encoder().encode
_decode_hello = msgspec.msgpack.Decoder(Hello).decode


@dataclass(frozen=True)
class Greeted:
    """What a hello came to: the last record kept, and the run's number (None: a launcher without a run)."""

    acked: int
    run_id: int | None
    opened: bool


@dataclass(frozen=True)
class Kept:
    """What an append came to. `records` and `rows` count what was new; `samples_lost` values of a node's that its
    journal had no room for, or whose run was not open."""

    acked: int
    run_id: int | None
    records: int
    rows: int
    ended: bool
    trimmed_bytes: int = 0
    samples_lost: int = 0


class Intake:
    """Sessions and their records, on one connection."""

    def __init__(self, database: Database, home: Home | None = None) -> None:
        self._database = database
        self._artifacts = Artifacts(database)
        self._home = home

    def hello(self, hello: Hello, now_ns: int, peer_uid: int | None = None) -> Greeted:
        """Create or find the session and its run. `peer_uid` is whose process it is, where the kernel tells.

        A session lost before is open again. Raises SessionClaimError when the session is another process's or writes
        to another run.
        """
        found = self._database.row(
            "SELECT hello, run_id, acked, state FROM sessions WHERE session = ?", (hello.session,)
        )
        if found is not None:
            greeted = self._welcome_back(hello, found, now_ns)
            self.spoke(hello.session, peer_uid)
            return greeted
        run_id, life, opened = None, 1, False
        if hello.role == "console":
            self._drop_stale_output(now_ns)
            run_id = self._open_run_of(hello.launch)
        elif hello.role == "node":
            run_id = self._run_of_node(hello)
        elif hello.run is not None:
            run_id, life, opened = self._run_for(hello.run, hello.launch, now_ns)
        self._database.execute(
            "INSERT INTO sessions (session, run_id, role, launch, hello, state, life, seen_ns, peer_uid)"
            " VALUES (?, ?, ?, ?, ?, 'open', ?, ?, ?)",
            (hello.session, run_id, hello.role, hello.launch, _encode(hello), life, now_ns, peer_uid),
        )
        if run_id is not None and hello.role == "train":
            self._attach_console(run_id, hello.launch)
            # A rank's config is the main rank's, or it says in it which rank it is: the first to come has told it.
            if not opened and hello.run is not None and hello.run.config and not hello.rank:
                self._add_config(run_id, hello.session, hello.run.config)
        return Greeted(0, run_id, opened)

    def spoke(self, session: str, peer_uid: int | None) -> None:
        """A process of this user has spoken for a session that is known."""
        found = self._database.row("SELECT peer_uid FROM sessions WHERE session = ?", (session,))
        if found is not None and (whose := joined(found[0], peer_uid)) != found[0]:
            self._database.execute("UPDATE sessions SET peer_uid = ? WHERE session = ?", (whose, session))

    def peer_uid(self, session: str) -> int | None:
        """Whose session it is; None when that is not known."""
        found = self._database.row("SELECT peer_uid FROM sessions WHERE session = ?", (session,))
        return None if found is None else found[0]

    def _welcome_back(self, hello: Hello, found: tuple[bytes, int | None, int, str], now_ns: int) -> Greeted:
        stored, run_id, acked, state = _decode_hello(found[0]), found[1], found[2], found[3]
        if not same_process(stored, hello):
            raise SessionClaimError(f"session {hello.session} belongs to process {stored.pid} on {stored.host!r}")
        key = stored.run.key() if stored.run else None
        if stored.role != hello.role or key != (hello.run.key() if hello.run else None):
            raise SessionClaimError(f"session {hello.session} said hello as {stored.role} of run {key} before")
        self._database.execute("UPDATE sessions SET seen_ns = ? WHERE session = ?", (now_ns, hello.session))
        opened = False
        if hello.role == "node":
            self._database.execute("UPDATE sessions SET state = 'open' WHERE session = ?", (hello.session,))
        elif state == "lost":
            opened = self._open_again(hello.session, run_id)
        return Greeted(acked, run_id, opened)

    def _add_config(self, run_id: int, session: str, config: dict[str, Any]) -> None:
        """A further session of an open run: its config goes to the worker as a record, numbered 0 before its first."""
        body = framing.frame(records.encode(records.Config(config)), 0)
        self._database.execute(
            "INSERT INTO batches (run_id, session, first, last, rows, body) VALUES (?, ?, 0, 0, 0, ?)",
            (run_id, session, body),
        )

    def _run_for(self, spec: RunSpec, launch: str | None, now_ns: int) -> tuple[int, int, bool]:
        """(run, its life, whether this opened it): made, found, or opened again."""
        found = self._database.row("SELECT run_id, life, state FROM runs WHERE key = ?", (spec.key(),))
        if found is None:
            cursor = self._database.execute(
                "INSERT INTO runs (key, spec, launch, state, created_ns) VALUES (?, ?, ?, 'open', ?)",
                (spec.key(), _encode(spec), launch, now_ns),
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid, 1, True
        run_id, life, state = found
        if state == "open":
            if launch is not None:
                self._database.execute("UPDATE runs SET launch = ? WHERE run_id = ?", (launch, run_id))
            return run_id, life, False
        # A new life is a new `init`: its config, name and folder are the ones that count now.
        self._database.execute("UPDATE runs SET spec = ?, launch = ? WHERE run_id = ?", (_encode(spec), launch, run_id))
        return run_id, self._new_life(run_id), True

    def _new_life(self, run_id: int) -> int:
        """Open a closing or finished run again; the number of its life."""
        self._database.execute(
            "UPDATE runs SET state = 'open', closing_code = NULL, closing_batch = NULL, life = life + 1"
            " WHERE run_id = ? AND state <> 'open'",
            (run_id,),
        )
        return int(self._database.row("SELECT life FROM runs WHERE run_id = ?", (run_id,))[0])

    def _open_again(self, session: str, run_id: int | None) -> bool:
        """A session that had ended or was lost has more to say; True when its run was opened by that."""
        life, opened = 1, False
        if run_id is not None:
            (state,) = self._database.row("SELECT state FROM runs WHERE run_id = ?", (run_id,))
            opened = state != "open"
            life = self._new_life(run_id)
        self._database.execute(
            "UPDATE sessions SET state = 'open', exit_code = NULL, implicit_end = 0, life = ? WHERE session = ?",
            (life, session),
        )
        return opened

    def append(
        self, session: str, first: int, last: int, payload: Buffer, offered: int = 0, *, gap_allowed: bool = False
    ) -> Kept:
        """Keep what is new of records `first` to `last`; `offered` is how many rows the client says it took.

        Raises GapError when `first` lies beyond `acked` + 1 (unless allowed), UnknownSessionError, and
        client.protocol's MalformedError and OversizedError; nothing is written then.
        """
        found = self._database.row(
            "SELECT run_id, role, acked, state, lost FROM sessions WHERE session = ?", (session,)
        )
        if found is None:
            raise UnknownSessionError(f"session {session} has not said hello")
        run_id, role, acked, state, lost = found
        if first > acked + 1 and not gap_allowed:
            raise GapError(session, first, acked)
        seen = survey(payload, first, last, acked)
        if last <= acked:
            self._note_offered(session, offered)
            return Kept(acked, run_id, 0, 0, ended=False)
        begin = max(first, acked + 1)
        if role == "node":
            return self._append_samples(session, run_id, begin, last, memoryview(payload)[seen.start :], seen)
        if role == "console":
            run_id = self._console_run(session, run_id)
        if state != "open":
            self._open_again(session, run_id)
        body = memoryview(payload)[seen.start :]
        self._database.execute(
            "INSERT INTO batches (run_id, session, first, last, rows, body) VALUES (?, ?, ?, ?, ?, ?)",
            (run_id, session, begin, last, seen.rows, body),
        )
        if seen.losses:
            total = msgspec.msgpack.decode(lost, type=dict[str, int])
            add_losses(total, seen.losses)
            lost = _encode(total)
        self._database.execute(
            "UPDATE sessions SET acked = ?, received = received + ?, offered = MAX(offered, ?), lost = ?"
            " WHERE session = ?",
            (last, seen.rows, min(max(offered, 0), SQLITE_INT_MAX // 4), lost, session),
        )
        for artifact in seen.artifacts if run_id is not None else ():
            self._artifacts.take(run_id, session, artifact, time.time_ns())
        if self._home is not None:
            self._home.tails.add(session, seen.output)
        if seen.end is not None:
            self._end(session, seen.end)
        trimmed = self._trim_early_output(session) if run_id is None else 0
        return Kept(last, run_id, last - begin + 1, seen.rows, seen.end is not None, trimmed)

    # Nodes.

    def _run_of_node(self, hello: Hello) -> int | None:
        """The run that a node samples for, where it is open."""
        key = hello.run.key() if hello.run is not None else ""
        found = self._database.row("SELECT run_id FROM runs WHERE key = ? AND state = 'open'", (key,))
        return None if found is None else int(found[0])

    def _append_samples(
        self, session: str, known: int | None, first: int, last: int, body: Buffer, seen: Survey
    ) -> Kept:
        """A node's records: kept while their run is open, else acked all the same and gone. Raises MalformedError."""
        if seen.rows:
            raise MalformedError("a node has samples, not rows")
        (encoded,) = self._database.row("SELECT hello FROM sessions WHERE session = ?", (session,))
        hello = _decode_hello(encoded)
        run_id = self._run_of_node(hello)
        if run_id is not None:
            self._database.execute(
                "INSERT INTO batches (run_id, session, first, last, rows, body) VALUES (?, ?, ?, ?, 0, ?)",
                (run_id, session, first, last, body),
            )
        self._database.execute(
            "UPDATE sessions SET acked = ?, run_id = ?, state = 'open' WHERE session = ?",
            (last, run_id if run_id is not None else known, session),
        )
        self._hear_node(session, run_id, hello.run.key() if hello.run is not None else "", seen.events)
        if seen.end is not None:
            self._end(session, seen.end)
            self._node_left(session)
        lost = seen.samples_lost + (seen.samples if run_id is None else 0)
        return Kept(last, run_id, last - first + 1, 0, seen.end is not None, samples_lost=lost)

    def _hear_node(self, session: str, run_id: int | None, key: str, said: Sequence[records.Event]) -> None:
        """What a node tells of its machine: the run hears of it in the same transaction."""
        if self._home is None or (news := self._home.node_news) is None:
            return
        for event in said:
            told = news.came(session, run_id, key, event, self._database.afterwards)
            if run_id is not None and told:
                self.tell(run_id, told)

    def _node_left(self, session: str) -> None:
        if self._home is None or (news := self._home.node_news) is None:
            return
        for told in news.left(session, self._database.afterwards):
            self.tell(told.run_id, told.said)

    def _note_offered(self, session: str, offered: int) -> None:
        self._database.execute(
            "UPDATE sessions SET offered = ? WHERE session = ? AND offered < ?",
            (min(offered, SQLITE_INT_MAX // 4), session, min(offered, SQLITE_INT_MAX // 4)),
        )

    def _end(self, session: str, end: records.End) -> None:
        code = None if end.exit_code is None else max(-(2**31), min(end.exit_code, 2**31))
        self._database.execute(
            "UPDATE sessions SET state = 'ended', exit_code = ?, implicit_end = ? WHERE session = ?",
            (code, int(end.implicit), session),
        )

    def lose(self, session: str, now_ns: int) -> tuple[bool, int | None]:
        """The session's process died without an End: (whether that is news, its run's number).

        Of a rank the worker is told, with a record behind its last: others' rows wait for it.
        """
        found = self._database.row("SELECT run_id, hello FROM sessions WHERE session = ?", (session,))
        if found is None:
            return False, None
        changed = self._database.execute(
            "UPDATE sessions SET state = 'lost' WHERE session = ? AND state = 'open'", (session,)
        ).rowcount
        if changed:
            self._node_left(session)
        if changed and found[0] is not None and _decode_hello(found[1]).rank is not None:
            self._database.execute(
                "INSERT INTO batches (run_id, session, first, last, rows, body) VALUES (?, ?, 0, 0, 0, ?)",
                (found[0], session, framing.frame(records.encode(records.Gone(now_ns)), 0)),
            )
        return changed > 0, found[0]

    def tell(self, run_id: int, said: Sequence[records.Record]) -> bool:
        """The daemon itself has something to say in a run, behind everything that is stored of it; False, and nothing
        is, when the run is not open."""
        found = self._database.row("SELECT state FROM runs WHERE run_id = ?", (run_id,))
        if found is None or found[0] != "open":
            return False
        body = b"".join(framing.frame(records.encode(record), number) for number, record in enumerate(said))
        self._database.execute(
            "INSERT INTO batches (run_id, session, first, last, rows, body) VALUES (?, ?, 0, ?, 0, ?)",
            (run_id, DAEMON, len(said) - 1, body),
        )
        return True

    def acked(self, session: str) -> int:
        """The last record kept of a session. Raises UnknownSessionError."""
        found = self._database.row("SELECT acked FROM sessions WHERE session = ?", (session,))
        if found is None:
            raise UnknownSessionError(f"session {session} has not said hello")
        return int(found[0])

    # Launchers.

    def _open_run_of(self, launch: str | None) -> int | None:
        """The newest open run of a launch."""
        if launch is None:
            return None
        found = self._database.row(
            "SELECT run_id FROM runs WHERE launch = ? AND state = 'open' ORDER BY run_id DESC LIMIT 1", (launch,)
        )
        return None if found is None else int(found[0])

    def _console_run(self, session: str, run_id: int | None) -> int | None:
        """Where a launcher's new records go: its run while that is open, else nowhere yet."""
        if run_id is None:
            return None
        (state,) = self._database.row("SELECT state FROM runs WHERE run_id = ?", (run_id,))
        if state == "open":
            return run_id
        self._database.execute("UPDATE sessions SET run_id = NULL WHERE session = ?", (session,))
        return None

    def _attach_console(self, run_id: int, launch: str | None) -> None:
        """Give the launch's console to this run unless it writes to another open one, with the output that waited."""
        if launch is None:
            return
        consoles = self._database.rows(
            "SELECT session FROM sessions WHERE launch = ? AND role = 'console' AND (run_id IS NULL OR run_id NOT IN"
            " (SELECT run_id FROM runs WHERE state = 'open'))",
            (launch,),
        )
        for (session,) in consoles:
            self._database.execute("UPDATE sessions SET run_id = ? WHERE session = ?", (run_id, session))
            # Numbered anew: a run opened again may have its cursor beyond the old numbers.
            waiting = self._database.rows(
                "SELECT batch FROM batches WHERE session = ? AND run_id IS NULL ORDER BY batch", (session,)
            )
            for (batch,) in waiting:
                self._database.execute(
                    "INSERT INTO batches (run_id, session, first, last, rows, body)"
                    " SELECT ?, session, first, last, rows, body FROM batches WHERE batch = ?",
                    (run_id, batch),
                )
                self._database.execute("DELETE FROM batches WHERE batch = ?", (batch,))

    def _drop_stale_output(self, now_ns: int) -> None:
        """Forget what launchers printed that ended long ago without any run."""
        self._database.execute(
            "DELETE FROM batches WHERE run_id IS NULL AND session IN"
            " (SELECT session FROM sessions WHERE role = 'console' AND state != 'open' AND seen_ns < ?)",
            (now_ns - EARLY_OUTPUT_KEPT_NS,),
        )

    def _trim_early_output(self, session: str) -> int:
        """Hold a launcher's waiting output to its cap; bytes dropped.

        It may wait longer than the launcher lives: a command that was killed at once is known by its spool alone, and
        that is adopted a moment after the launcher's last word.
        """
        held = dropped = 0
        for batch, size in self._database.rows(
            "SELECT batch, length(body) FROM batches WHERE session = ? AND run_id IS NULL ORDER BY batch DESC",
            (session,),
        ):
            held += size
            if held > EARLY_OUTPUT_MAX_BYTES:
                self._database.execute("DELETE FROM batches WHERE batch = ?", (batch,))
                dropped += size
        return dropped


def same_process(one: Hello, other: Hello) -> bool:
    """Whether two hellos come from one process: a session never moves to another."""
    return (one.pid, one.host, one.start_time_ns) == (other.pid, other.host, other.start_time_ns)
