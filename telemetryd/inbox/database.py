"""The inbox's SQLite connection: how it is opened, its transactions, and SQLite's errors as ours.

Invariants
* WAL mode, synchronous=NORMAL: a commit survives SIGKILL of every process.
* A connection belongs to the thread that opened it; several in one daemon wait for each other's transactions.
* With a Home (home.py) it stays with the file at its path: another thread may have it opened anew between two uses.
* A damaged database is moved aside at start and never opened again; nothing is deleted.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from telemetryd.errors import InboxCorruptError, InboxError, InboxUnavailableError, PlaceError
from telemetryd.inbox.home import SIDE_FILES, Home, free_name
from telemetryd.limits import (
    INBOX_BUSY_TIMEOUT_S,
    INBOX_CHECK_MAX_BYTES,
    INBOX_CHECKPOINT_PAGES,
    INBOX_LOG_MAX_PAGES,
    INBOX_PAGE_BYTES,
    INBOX_TRANSACTION_BYTES,
    INBOX_WAL_KEEP_BYTES,
)

log = logging.getLogger(__name__)

BASE_VERSION = 1
_MIGRATION = re.compile(r"(\d{4})_\w+\.sql")


class Database:
    """One connection to the inbox, with write transactions."""

    def __init__(self, path: Path, home: Home | None = None) -> None:
        """Connect. Raises InboxUnavailableError or InboxCorruptError; the schema is not looked at (see `prepare`)."""
        self.path = path
        self._home = home
        self.in_use = threading.RLock()
        """Held in each use, so that Home can wait for its end. Nobody contends for it otherwise."""
        self._open: sqlite3.Connection | None = None
        self._depth = 0
        self._written_bytes = 0
        self._checkpoint_due = False
        self._afterwards: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self.reopen()
        if home is not None:
            home.join(self)

    def reopen(self) -> None:
        """Connect to the file that is at the path now. Raises as the constructor does."""
        with _translated():
            self._open = sqlite3.connect(
                self.path, timeout=INBOX_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=self._home is None
            )
            try:
                self._set_up()
            except BaseException:
                self.let_go()
                raise

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            raise InboxUnavailableError(f"the inbox {self.path} is not open")
        return self._open

    # For Home.

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._open is not None

    def copy_to(self, path: Path) -> None:
        """All that is committed, into a new database. Raises sqlite3.Error."""
        with contextlib.closing(sqlite3.connect(path)) as copy:
            self._connection.backup(copy)

    def let_go(self) -> None:
        """Close the connection."""
        connection, self._open = self._open, None
        if connection is not None:
            connection.close()

    def stay_home(self) -> None:
        """Put the file back if somebody has removed it. Raises InboxUnavailableError."""
        if self._home is not None:
            self._home.ensure(self)

    def _right_to_write(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._home is None else self._home.writing(self)

    def _set_up(self) -> None:
        execute = self._connection.execute
        execute(f"PRAGMA page_size = {INBOX_PAGE_BYTES}")
        execute("PRAGMA auto_vacuum = INCREMENTAL")  # both take effect on an empty database only
        execute("PRAGMA journal_mode = WAL").fetchone()
        execute("PRAGMA synchronous = NORMAL")
        execute("PRAGMA secure_delete = OFF")
        execute("PRAGMA foreign_keys = ON")
        alone = self._home is None or self._home.wrote is None
        execute(f"PRAGMA wal_autocheckpoint = {INBOX_CHECKPOINT_PAGES if alone else INBOX_LOG_MAX_PAGES}")
        execute(f"PRAGMA journal_size_limit = {INBOX_WAL_KEEP_BYTES}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: commits at the end, rolls back on any exception. Inside another one it is part of that.

        Raises InboxUnavailableError when the disk or the lock does not allow it, InboxCorruptError on damage.
        """
        if self._depth:
            yield
            return
        with self._right_to_write(), self.in_use:
            with _translated():
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield
                with _translated():
                    self._connection.execute("COMMIT")
                self._tell_written()
            except BaseException:
                self._roll_back()
                self._settle(committed=False)
                raise
            finally:
                self._depth = 0
            self._settle(committed=True)

    def afterwards(self, committed: Callable[[], None], undone: Callable[[], None]) -> None:
        """Within a transaction: have one of the two called once it has ended, for what is kept in memory beside it."""
        self._afterwards.append((committed, undone))

    def _settle(self, *, committed: bool) -> None:
        waiting, self._afterwards = self._afterwards, []
        for done, undone in waiting if committed else reversed(waiting):
            (done if committed else undone)()

    def _tell_written(self) -> None:
        size, self._written_bytes = self._written_bytes + INBOX_TRANSACTION_BYTES, 0
        if self._home is not None and self._home.wrote is not None:
            self._home.wrote(size)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Several queries on one state of the database; no lock is held against writers."""
        if self._depth:
            yield
            return
        with self.in_use:
            with _translated():
                self._connection.execute("BEGIN")
            self._depth = 1
            try:
                yield
            finally:
                self._depth = 0
                self._roll_back()

    def _roll_back(self) -> None:
        if not self._connection.in_transaction:  # SQLite rolled back by itself, as on a full disk
            return
        try:
            self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            log.error("rollback_failed path=%s error=%r", self.path, str(error))

    def execute(self, sql: str, arguments: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """Run one statement. Raises as `transaction` does."""
        for argument in arguments:
            if isinstance(argument, bytes | memoryview):
                self._written_bytes += len(argument)
        with self.in_use, _translated():
            return self._connection.execute(sql, arguments)

    def rows(self, sql: str, arguments: tuple[Any, ...] = ()) -> list[Any]:
        """All rows of a query. Raises as `transaction` does."""
        with self.in_use, _translated():
            return self._connection.execute(sql, arguments).fetchall()

    def row(self, sql: str, arguments: tuple[Any, ...] = ()) -> Any:
        """The first row of a query, or None. Raises as `transaction` does."""
        with self.in_use, _translated():
            return self._connection.execute(sql, arguments).fetchone()

    def used_bytes(self) -> int:
        """Bytes of the database's pages in use, without those free for reuse."""
        (pages,) = self.row("PRAGMA page_count")
        (free,) = self.row("PRAGMA freelist_count")
        (size,) = self.row("PRAGMA page_size")
        return int((pages - free) * size)

    def give_back(self, pages: int) -> None:
        """Return up to so many free pages to the file system.

        The file itself shrinks at a checkpoint. An idle inbox has none for want of writes: it is made here, without
        waiting for readers, once no page is free any more.
        """
        (free,) = self.row("PRAGMA freelist_count")
        if not free and not self._checkpoint_due:
            return
        with self._right_to_write(), self.in_use, _translated():
            if free:
                # A script, because `execute` steps once, and each step gives back a single page.
                self._connection.executescript(f"PRAGMA incremental_vacuum({pages})")
                self._checkpoint_due = True
            else:
                busy, logged, copied = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                self._checkpoint_due = bool(busy) or copied < logged

    def checkpoint(self) -> None:
        """Copy home what the log holds, as far as readers allow; waits for nobody. Raises as `transaction` does."""
        with self.in_use, _translated():
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        if self._home is not None:
            self._home.leave(self)
        with self.in_use:
            self.let_go()


def prepare(path: Path, *, now_s: float | None = None) -> Path | None:
    """Make or migrate the database at `path`, so that a `Database` can work on it. Done once, at the daemon's start.

    A damaged database is moved aside; the answer is then its new path. Raises PlaceError when the file cannot be used
    and this is nobody's damage: no permission, no room, made by a newer version.
    """
    aside = None
    try:
        _check(path)
    except InboxCorruptError as error:
        aside = _move_aside(path, int(time.time() if now_s is None else now_s))
        log.error("inbox_moved_aside path=%s to=%s reason=%r", path, aside, str(error))
    except InboxError as error:
        raise PlaceError(_unusable(path, error)) from error
    try:
        database = Database(path)
        try:
            _migrate(database)
        finally:
            database.close()
    except InboxError as error:
        raise PlaceError(_unusable(path, error)) from error
    return aside


def _unusable(path: Path, error: Exception) -> str:
    return f"the inbox {path} cannot be used: {error}; make room or set another --state-dir"


def _check(path: Path) -> None:
    """Raise InboxCorruptError when there is a file that is no sound inbox."""
    if not path.exists():
        return
    database = Database(path)
    try:
        (version,) = database.row("PRAGMA user_version")
        tables = {name for (name,) in database.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if version and not {"runs", "sessions", "batches"} <= tables:
            raise InboxCorruptError("tables are missing")
        if not version and tables:
            raise InboxCorruptError("it is a database of something else")
        if path.stat().st_size <= INBOX_CHECK_MAX_BYTES:
            (verdict,) = database.row("PRAGMA quick_check(1)")
            if verdict != "ok":
                raise InboxCorruptError(str(verdict))
    finally:
        database.close()


def _move_aside(path: Path, stamp: int) -> Path:
    aside = free_name(path, "corrupt", stamp)
    try:
        for suffix in ("", *SIDE_FILES):
            source = Path(f"{path}{suffix}")
            if source.exists():
                source.rename(f"{aside}{suffix}")
    except OSError as error:
        raise PlaceError(
            f"the damaged inbox {path} cannot be moved aside ({error.strerror}): move it by hand"
        ) from error
    return aside


def migrations() -> list[tuple[int, str]]:
    """(version, script) of every step after the base schema, in order."""
    found = []
    for entry in resources.files("telemetryd.inbox").joinpath("migrations").iterdir():
        match = _MIGRATION.fullmatch(entry.name)
        if match:
            found.append((int(match[1]), entry.read_text(encoding="utf-8")))
    return sorted(found)


def _migrate(database: Database) -> None:
    steps = migrations()
    newest = steps[-1][0] if steps else BASE_VERSION
    (version,) = database.row("PRAGMA user_version")
    if version > newest:
        raise PlaceError(
            f"the inbox {database.path} was made by a newer telemetryd (version {version}, this one knows {newest}):"
            " update telemetryd or set another --state-dir"
        )
    if version == 0:
        base = resources.files("telemetryd.inbox").joinpath("schema.sql").read_text(encoding="utf-8")
        steps.insert(0, (BASE_VERSION, base))
    for number, script in steps:
        if number > version:
            with database.transaction():
                for statement in _statements(script):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {number}")
            log.info("inbox_migrated path=%s version=%d", database.path, number)


def _statements(script: str) -> Iterator[str]:
    """The statements of a script (`executescript` would commit what came before)."""
    statement = ""
    for piece in script.split(";")[:-1]:
        statement += f"{piece};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    rest = statement + script.rpartition(";")[2]
    if any(line.strip() and not line.lstrip().startswith("--") for line in rest.splitlines()):
        raise ValueError(f"a statement of the schema has no end: {rest!r}")


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise InboxUnavailableError(str(error)) from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError)):
            raise
        raise InboxCorruptError(str(error)) from error
