"""What logging a table again means: which version of it, and which increment, the run worker has been given.

    identity    a name that no other table of this job has
    version     counts the changes after a log, for log_mode "MUTABLE": one version, one artifact version
    increment   counts them for "INCREMENTAL"; `sent_rows` are in the increments before

A table that has not changed since its last log has the same (version, increment), and the worker answers with what it
made of it then.
"""

from __future__ import annotations

import itertools
import os
import threading
import time

_numbers = itertools.count()
_process = ""


def _name_process() -> None:
    """Processes of one job may log to one run: a name of this one's own, without asking for random bytes."""
    global _process
    _process = f"{os.getpid():x}-{time.time_ns():x}-{threading.get_ident() & 0xFFFF:x}"


_name_process()
os.register_at_fork(after_in_child=_name_process)


class LogState:
    """See the module's head."""

    __slots__ = ("_number", "increment", "logged", "sent_rows", "sent_upto", "unsent", "version", "warned")

    def __init__(self) -> None:
        self._number = next(_numbers)
        self.logged = False
        self.warned = False
        self.version = 0
        self.increment: int | None = None
        """The current increment; None before the first log."""
        self.sent_rows = 0
        """Rows in the increments before the current one."""
        self.sent_upto = 0
        """Rows that the table had when it was last logged."""
        self.unsent = True
        """Whether the current increment was not logged yet."""

    @property
    def identity(self) -> str:
        """See the module's head."""
        return f"{_process}-{self._number}"

    def changing(self, mode: str | None) -> bool:
        """The table is about to be changed; True when a warning is due, because nobody will see the change."""
        if mode == "MUTABLE" and self.logged:
            self.logged = False
            self.version += 1
        return mode == "IMMUTABLE" and self.logged

    def appended(self) -> None:
        """A row was added: if the current increment was logged, the next one begins with it."""
        if self.increment is not None and not self.unsent:
            self.increment += 1
            self.unsent = True
            self.sent_rows = self.sent_upto

    def sent(self, rows: int) -> None:
        """The table was logged with this many rows."""
        self.logged = True
        self.unsent = False
        self.sent_upto = rows
        if self.increment is None:
            self.increment = 0
