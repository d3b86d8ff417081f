"""The ledger: offered = delivered + dropped{reason} + pending, in rows (one per accepted `log` call).

offered    what came, plus what the client lost itself; at least what the client says it took
delivered  what the run's worker saw confirmed
dropped    by reason: what the worker could not deliver, what clients lost, and what a dead client took with it
           ("never_arrived": said to be taken, but neither in the inbox nor in a spool)
pending    the rest, so the sum holds by construction

The same of one process: what of its rows lies behind the run's cursor is delivered, but for what the worker's snapshot
there says is still waiting or was dropped. It may lag behind the run's own account by what was confirmed since the
cursor moved.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from telemetryd.inbox import lag
from telemetryd.inbox.database import Database
from telemetryd.inbox.survey import add_losses
from telemetryd.limits import NAME_MAX_BYTES

NEVER_ARRIVED = "never_arrived"
_MEDIA = "media:"
"""Before the reasons of lost media values, which stand beside those of rows in a run's column `dropped`."""

_counts = msgspec.msgpack.Decoder(dict[str, int])
_RUN_COLUMNS = "run_id, key, spec, launch, state, closing_code, delivered, late, dropped, started"


@dataclass
class Account:
    """The rows of one run or of all."""

    offered: int = 0
    delivered: int = 0
    late: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    media_lost: dict[str, int] = field(default_factory=dict)
    """Media values that delivered rows had to go without; no part of the sum."""

    @property
    def pending(self) -> int:
        """Rows on their way."""
        return self.offered - self.delivered - sum(self.dropped.values())

    def add(self, other: Account) -> None:
        """Add another account to this one."""
        self.offered += other.offered
        self.delivered += other.delivered
        self.late += other.late
        add_losses(self.dropped, other.dropped)
        add_losses(self.media_lost, other.media_lost)


@dataclass(frozen=True)
class ProcessAccount:
    """One process's rows in a run. `hello` is msgpack of messages.Hello; `state` is open, ended or lost."""

    session: str
    hello: bytes
    state: str
    account: Account

    def as_map(self) -> dict[str, Any]:
        """As `status` tells it."""
        origin = _origin.decode(self.hello)
        return {
            "session": self.session,
            "pid": origin.pid,
            "host": origin.host[:NAME_MAX_BYTES],
            "state": self.state,
            "offered": self.account.offered,
            "delivered": self.account.delivered,
            "dropped": self.account.dropped,
            "pending": self.account.pending,
        }


class _Origin(msgspec.Struct):
    """Of a Hello: which process said it."""

    pid: int = 0
    host: str = ""


_origin = msgspec.msgpack.Decoder(_Origin)


class Standing(msgspec.Struct):
    """What the ledger reads of a run's snapshot: rows of each session behind the cursor that are still to be written,
    and those that the worker dropped, by reason."""

    waiting: dict[str, int] = {}
    lost: dict[str, dict[str, int]] = {}


@dataclass(frozen=True)
class RunAccount:
    """A run's account with what a report tells besides. `started` is msgpack of control.Started, `spec` of RunSpec."""

    run_id: int
    key: str
    spec: bytes
    launch: str | None
    state: str
    exit_code: int | None
    started: bytes | None
    account: Account


SESSIONS_OF_RUN = "SELECT received, offered, lost, state FROM sessions WHERE run_id = ? AND role = 'train'"


def of_sessions(rows: Iterable[tuple[int, int, bytes, str]]) -> Account:
    """What a run's sessions took and lost themselves; `rows` are SESSIONS_OF_RUN's."""
    account = Account()
    for received, said, lost_blob, state in rows:
        lost = _counts.decode(lost_blob)
        known = received + sum(lost.values())
        add_losses(account.dropped, lost)
        account.offered += max(known, said)
        if state != "open" and said > known:
            add_losses(account.dropped, {NEVER_ARRIVED: said - known})
    return account


def with_media(dropped: dict[str, int], media_lost: dict[str, int]) -> dict[str, int]:
    """What a run's column `dropped` holds: lost rows, and lost media values under names of their own."""
    return {**dropped, **{f"{_MEDIA}{reason}": count for reason, count in media_lost.items()}}


def _standing(snapshot: bytes) -> Standing:
    try:
        return msgspec.msgpack.decode(snapshot, type=Standing) if snapshot else Standing()
    except msgspec.MsgspecError:  # a fake worker's, or a later version's
        return Standing()


class Ledger:
    """Queries over runs and sessions; each is one consistent read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, run_id: int) -> RunAccount | None:
        """One run by its number."""
        return self._one("run_id = ?", run_id)

    def run_by_key(self, key: str) -> RunAccount | None:
        """One run by its key "entity/project/id"."""
        return self._one("key = ?", key)

    def _one(self, where: str, value: int | str) -> RunAccount | None:
        found = self._select(f"WHERE {where}", (value,))
        return found[0] if found else None

    def processes(self, run_id: int, most: int) -> list[ProcessAccount]:
        """The newest `most` training processes of a run, in the order they came."""
        with self._database.reading():
            found = self._database.row("SELECT cursor, snapshot FROM runs WHERE run_id = ?", (run_id,))
            if found is None:
                return []
            cursor, snapshot = found
            sessions = self._database.rows(
                "SELECT session, hello, state, received, offered, lost FROM sessions"
                " WHERE run_id = ? AND role = 'train' ORDER BY rowid DESC LIMIT ?",
                (run_id, most),
            )
            ahead = dict(
                self._database.rows(
                    "SELECT session, SUM(rows) FROM batches WHERE run_id = ? AND batch > ? GROUP BY session",
                    (run_id, cursor),
                )
            )
        standing = _standing(snapshot)
        processes = []
        for session, hello, state, received, said, lost in reversed(sessions):
            account = of_sessions([(received, said, lost, state)])
            dropped = standing.lost.get(session, {})
            left = ahead.get(session, 0) + standing.waiting.get(session, 0) + sum(dropped.values())
            account.delivered = max(0, received - left)
            add_losses(account.dropped, dropped)
            processes.append(ProcessAccount(session, hello, state, account))
        return processes

    def oldest_waiting_ns(self, run_id: int) -> int | None:
        """When the run's oldest row that is not confirmed was logged: see lag.py."""
        return lag.oldest_ns(self._database, run_id)

    def of_launch(self, launch: str) -> list[RunAccount]:
        """The runs that sessions of a launch write to."""
        return self._select(
            "WHERE run_id IN (SELECT run_id FROM sessions WHERE launch = ? AND role = 'train') ORDER BY run_id",
            (launch,),
        )

    def open_sessions_of_launch(self, launch: str) -> int:
        """How many training sessions of a launch are open."""
        (count,) = self._database.row(
            "SELECT COUNT(*) FROM sessions WHERE launch = ? AND role = 'train' AND state = 'open'", (launch,)
        )
        return int(count)

    def listed(self, finished: int) -> list[RunAccount]:
        """Runs that are not finished, and the newest finished ones."""
        return self._select(
            "WHERE state <> 'finished' OR run_id IN"
            " (SELECT run_id FROM runs WHERE state = 'finished' ORDER BY run_id DESC LIMIT ?) ORDER BY run_id",
            (finished,),
        )

    def total(self) -> Account:
        """All runs together."""
        total = Account()
        for run in self._select("", ()):
            total.add(run.account)
        return total

    def _select(self, where: str, arguments: tuple[int | str, ...]) -> list[RunAccount]:
        with self._database.reading():
            runs = self._database.rows(f"SELECT {_RUN_COLUMNS} FROM runs {where}", arguments)
            return [self._account(row) for row in runs]

    def _account(
        self, row: tuple[int, str, bytes, str | None, str, int | None, int, int, bytes, bytes | None]
    ) -> RunAccount:
        run_id, key, spec, launch, state, exit_code, delivered, late, dropped, started = row
        account = Account(0, delivered, late, {})
        for reason, count in _counts.decode(dropped).items():
            media = reason.startswith(_MEDIA)
            add_losses(account.media_lost if media else account.dropped, {reason.removeprefix(_MEDIA): count})
        account.add(of_sessions(self._database.rows(SESSIONS_OF_RUN, (run_id,))))
        return RunAccount(run_id, key, spec, launch, state, exit_code, started, account)
