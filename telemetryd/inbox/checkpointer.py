"""The thread that copies the inbox's write-ahead log home, so that reception does not have to.

    a transaction commits ──► Home.wrote(bytes) ──► every INBOX_CHECKPOINT_BYTES: one checkpoint, here

SQLite writes every page twice: into its log at the commit, into the file at a checkpoint, which then waits for the
disk. By default the connection whose commit fills the log does that within the commit; at the highest rates that was
nearly half of reception's work.

Invariants
* A checkpoint here neither waits for readers and writers nor holds them up (PASSIVE).
* The log begins anew only when all of it is home at the beginning of a transaction, which never is while transactions
  follow one another without a pause: past INBOX_LOG_MAX_PAGES the committing connection takes what is left. The log's
  size stays bounded without this thread, too.
"""

from __future__ import annotations

import logging
import threading

from telemetryd.errors import InboxError
from telemetryd.inbox.database import Database
from telemetryd.inbox.home import Home
from telemetryd.limits import INBOX_CHECKPOINT_BYTES

log = logging.getLogger(__name__)


class Checkpointer:
    """Make it before the connections that write: they leave checkpoints to it from then on."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._written_bytes = 0
        self._due = threading.Event()
        self._closed = False
        self.rounds = 0
        """Checkpoints made."""
        self._thread = threading.Thread(target=self._main, name="checkpointer", daemon=True)
        home.wrote = self.wrote

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wrote(self, size: int) -> None:
        """A transaction has written about so many bytes. For any thread."""
        with self._lock:
            self._written_bytes += size
            if self._written_bytes < INBOX_CHECKPOINT_BYTES:
                return
            self._written_bytes = 0
        self._due.set()

    def close(self, timeout_s: float = 10.0) -> None:
        """End the thread; a checkpoint that has begun is finished."""
        self._closed = True
        self._due.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _main(self) -> None:
        try:
            database = Database(self._home.path, self._home)
        except InboxError as error:  # whoever writes meets it too, and tells; the log is then checkpointed at its cap
            log.error("checkpointer_ended error=%r", str(error))
            return
        try:
            while not self._closed:
                self._due.wait()
                self._due.clear()
                try:
                    database.checkpoint()
                    self.rounds += 1
                except InboxError as error:
                    log.warning("checkpoint_failed error=%r", str(error))
        finally:
            database.close()
