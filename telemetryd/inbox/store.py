"""The inbox as one thing: a connection with its intake, progress and ledger. Each thread opens its own."""

from __future__ import annotations

import contextlib
from pathlib import Path

from telemetryd.inbox.artifacts import Artifacts
from telemetryd.inbox.database import Database
from telemetryd.inbox.home import Home
from telemetryd.inbox.intake import Intake
from telemetryd.inbox.ledger import Ledger
from telemetryd.inbox.progress import Progress

FILE_NAME = "inbox.sqlite3"


class Inbox:
    """One thread's connection to the inbox. `database.prepare` must have run before."""

    def __init__(self, path: Path, home: Home | None = None) -> None:
        """`home`: the place that all connections of this process share.

        Raises InboxUnavailableError or InboxCorruptError.
        """
        self.path = path
        self.database = Database(path, home)
        self.intake = Intake(self.database, home)
        self.progress = Progress(self.database)
        self.ledger = Ledger(self.database)
        self.artifacts = Artifacts(self.database)

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """See Database.transaction."""
        return self.database.transaction()

    def close(self) -> None:
        """Close the connection."""
        self.database.close()
