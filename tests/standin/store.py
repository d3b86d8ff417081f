"""What the stand-in remembers: documents and lines in SQLite, contents as files, all under one directory.

    standin.sqlite3   doc(kind, key, body)            one JSON document per run, artifact, sweep …
                      line(run, stream, at, text)     history, events, output: one line per (stream, offset)
    contents/         one file per uploaded file, written aside and renamed: a torn upload is never seen

Invariants: `change()` is the one way to write and makes its block one transaction; a line written again at its offset
replaces the one before (as W&B does), so that a request sent twice leaves no trace; a document is only handed out
as a copy. Synchronous is off: it must survive a restart of the process, not a power cut.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import limits

Doc = dict[str, Any]
_SCHEMA = """
create table if not exists doc (kind text, key text, n integer, body text, primary key (kind, key));
create table if not exists line (run text, stream text, at integer, text text,
    primary key (run, stream, at)) without rowid;
"""


class Store:
    """Thread-safe memory of the server. Without a directory it lives in a temporary one, removed by close()."""

    def __init__(self, directory: Path | None = None):
        self._temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="wandb-standin-"))
        self.contents = self.directory / "contents"
        self.contents.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._depth = 0
        self._db = sqlite3.connect(self.directory / "standin.sqlite3", check_same_thread=False, isolation_level=None)
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=off")
        self._db.executescript(_SCHEMA)
        self._changed = threading.Condition()
        self.changes = 0

    def close(self) -> None:
        """Close the database; a temporary directory goes with it."""
        with self._lock:
            self._db.close()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """One transaction; nested blocks join the outer one. Whoever waits for a change is told at its end."""
        with self._lock:
            if self._depth == 0:
                self._db.execute("begin")
            self._depth += 1
            try:
                yield
            except BaseException:
                if self._depth == 1:
                    self._db.execute("rollback")
                raise
            else:
                if self._depth == 1:
                    self._db.execute("commit")
            finally:
                self._depth -= 1
        self.touch()

    def touch(self) -> None:
        """Say that something happened worth looking at."""
        with self._changed:
            self.changes += 1
            self._changed.notify_all()

    def wait(self, since: int, timeout_s: float) -> int:
        """Wait until more than `since` changes have been made; returns their number now."""
        deadline = time.monotonic() + min(timeout_s, limits.MAX_CHANGE_WAIT_S)
        with self._changed:
            while self.changes <= since and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            return self.changes

    # documents

    def get(self, kind: str, key: str) -> Doc | None:
        """The document, a copy of your own, or None."""
        with self._lock:
            row = self._db.execute("select body from doc where kind=? and key=?", (kind, key)).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, kind: str, key: str, doc: Doc) -> None:
        """Write the document; it keeps its place in the order of first writing."""
        with self.change():
            self._db.execute(
                "insert into doc values (?, ?, (select coalesce(max(n), 0) + 1 from doc), ?)"
                " on conflict (kind, key) do update set body=excluded.body",
                (kind, key, json.dumps(doc)),
            )

    def delete(self, kind: str, key: str) -> None:
        """Forget the document, if it is there."""
        with self.change():
            self._db.execute("delete from doc where kind=? and key=?", (kind, key))

    def all(self, kind: str, prefix: str = "") -> list[Doc]:
        """Every document of the kind whose key begins with `prefix`, oldest first."""
        with self._lock:
            rows = self._db.execute(
                "select body from doc where kind=? and substr(key, 1, ?)=? order by n", (kind, len(prefix), prefix)
            ).fetchall()
        return [json.loads(body) for (body,) in rows]

    # lines

    def put_lines(self, run: str, stream: str, offset: int, texts: list[str]) -> None:
        """Place `texts` at `offset` and on; what was there is replaced."""
        with self.change():
            self._db.executemany(
                "insert or replace into line values (?, ?, ?, ?)",
                [(run, stream, offset + n, text) for n, text in enumerate(texts)],
            )

    def line_count(self, run: str, stream: str) -> int:
        """The offset at which the next new line goes."""
        with self._lock:
            query = "select coalesce(max(at) + 1, 0) from line where run=? and stream=?"
            return int(self._db.execute(query, (run, stream)).fetchone()[0])

    def line_total(self, run: str, stream: str) -> int:
        """How many lines there are; less than line_count() where offsets were left out."""
        with self._lock:
            query = "select count(*) from line where run=? and stream=?"
            return int(self._db.execute(query, (run, stream)).fetchone()[0])

    def lines(self, run: str, stream: str, first: int = 0, last: int | None = None) -> list[tuple[int, str]]:
        """(offset, text) of the lines from offset `first` up to and without `last`, in order."""
        end = 1 << 62 if last is None else last
        query = "select at, text from line where run=? and stream=? and at>=? and at<? order by at"
        with self._lock:
            return self._db.execute(query, (run, stream, first, end)).fetchall()

    def drop_lines(self, run: str, stream: str = "", since: int = 0) -> None:
        """Forget the lines at `since` and after, of one stream or of all."""
        with self.change():
            self._db.execute(
                "delete from line where run=? and (?='' or stream=?) and at>=?", (run, stream, stream, since)
            )
