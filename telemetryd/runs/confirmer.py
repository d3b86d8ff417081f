"""What W&B's server has of a run, asked again and again by a thread of its own while rows are on their way.

Invariants
* Nobody waits for the network but the thread; every question has a timeout.
* `rows` counts from `base`, the lines that the server had when wandb-core began to write: wandb-core puts line after
  line behind those, so a line sent twice lies where it lay.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

from telemetryd.runs.errors import ServerRefusedError, ServerSilentError, ServerUnsuitedError
from telemetryd.runs.limits import POLL_FIRST_S, POLL_MAX_S
from telemetryd.runs.wandb_server import RunName

log = logging.getLogger(__name__)


class Lines(Protocol):
    """The part of wandb_server.Server that is needed here."""

    def lines(self, name: RunName) -> int:
        """How many rows the server has of a run. Raises ServerError."""


class Confirmer:
    """See the module's head."""

    def __init__(self, server: Lines, name: RunName, base: int) -> None:
        """Begins to ask at the first `want`."""
        self._server = server
        self._name = name
        self._base = base
        self._condition = threading.Condition()
        self._rows = 0
        self._wanted = 0
        self._hurry = False
        self._closed = False
        self._silent_since_s: float | None = None
        self._silence = ""
        self._refusal: ServerRefusedError | None = None
        self._blind = False
        self._thread: threading.Thread | None = None

    def want(self, rows: int, *, hurry: bool = False) -> None:
        """So many rows should be there; `hurry`: ask at the shortest interval, somebody waits."""
        with self._condition:
            if (rows > self._wanted and self._rows >= self._wanted) or (hurry and not self._hurry):
                self._condition.notify()
            self._wanted, self._hurry = rows, hurry
            if self._thread is None:
                self._thread = threading.Thread(target=self._ask, name="confirmer", daemon=True)
                self._thread.start()

    @property
    def rows(self) -> int | None:
        """Rows that the server had at the last answer; None when it cannot be asked at all."""
        return None if self._blind else self._rows

    @property
    def refusal(self) -> ServerRefusedError | None:
        """A refusal of the question, such as a key that is not accepted any more."""
        return self._refusal

    def silent(self) -> tuple[float, str]:
        """(for how long the server has not answered, in seconds; what happens instead)."""
        with self._condition:
            since_s = self._silent_since_s
            return (0.0, "") if since_s is None else (time.monotonic() - since_s, self._silence)

    def close(self) -> None:
        """Ask no more."""
        with self._condition:
            self._closed = True
            self._condition.notify()

    def _ask(self) -> None:
        pause_s = POLL_FIRST_S
        while True:
            with self._condition:
                while not self._closed and self._rows >= self._wanted:
                    self._condition.wait()
                    pause_s = POLL_FIRST_S
                self._condition.wait(POLL_FIRST_S if self._hurry else pause_s)
                if self._closed:
                    return
            self._ask_once()
            if self._blind:
                return
            pause_s = min(pause_s * 1.5, POLL_MAX_S)

    def _ask_once(self) -> None:
        started_s = time.monotonic()
        try:
            rows = self._server.lines(self._name) - self._base
        except ServerSilentError as error:
            with self._condition:
                self._silence = str(error)
                self._silent_since_s = self._silent_since_s or started_s
        except ServerRefusedError as error:
            self._refusal = error
        except ServerUnsuitedError as error:
            log.warning("server_blind reason=%r effect=%r", str(error), "rows are confirmed by the .wandb file alone")
            self._blind = True
        else:
            with self._condition:
                self._rows, self._silent_since_s = max(rows, self._rows), None
                self._refusal = None
