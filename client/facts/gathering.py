"""The thread that looks up the facts of a process, so that `init` does not wait for git and disks.

    init ──► thread: git, packages, machine, code ──► one Process record
                                                        │
    the end of the session waits for it, briefly  ◄─────┘

What it needs is imported on the thread, too: `import client` pays for none of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from client import guard
from client.limits import FACTS_AFTER_S, FACTS_WAIT_S
from client.protocol.records import Process

if TYPE_CHECKING:
    from client.facts.gather import Gatherer


class Gathering:
    """Of one session: `start` it once and `finish` it before the session ends."""

    def __init__(
        self, record: Callable[[Process], object], known: Mapping[str, Any], settings: Mapping[str, Any], *, code: bool
    ) -> None:
        """See Gatherer; `record` takes what was found."""
        self._record = record
        self._known = known
        self._settings = settings
        self._code = code
        self._gatherer: Gatherer | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetryd-facts", daemon=True)

    def start(self) -> None:
        """Begin. Without a thread to be had, the facts are left out."""
        try:
            self._thread.start()
        except RuntimeError as error:  # as in Sender.start
            guard.swallow("facts.start", error)

    def finish(self) -> None:
        """Wait until the record is there, at most FACTS_WAIT_S: a repository on a slow disk is left out then."""
        self._ending.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(FACTS_WAIT_S)
            if self._thread.is_alive() and self._gatherer is not None:
                self._gatherer.give_up()
                self._thread.join(FACTS_WAIT_S)

    def _run(self) -> None:
        try:
            self._ending.wait(FACTS_AFTER_S)
            from client.facts.gather import Gatherer

            self._gatherer = Gatherer(self._known, self._settings, code=self._code)
            self._record(self._gatherer.gather())
        except Exception as error:  # noqa: BLE001 - whatever it was, training must not notice
            guard.swallow("facts.gather", error)
