"""What trains on this machine, as the run's daemon tells it: asked again and again by a thread of its own.

An answer that does not come changes nothing: what trained here goes on being sampled, into journals that wait.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from client import guard
from client.connection import ask
from client.errors import NoAnswerError
from client.protocol.messages import Hello, RunSpec
from telemetryd.node.limits import ASK_PERIOD_S, ASK_TIMEOUT_S

log = logging.getLogger(__name__)

_SESSION = re.compile(r"[0-9a-f]{32}")


class Run(msgspec.Struct):
    """An open run that trains here: its number and key in the daemon, on how many hosts it trains, what its processes
    here said of themselves (msgpack of Hello), and the rank that is slower than all others."""

    run: int
    key: str
    nodes: int
    hellos: list[bytes]
    slow: int | None = None

    def spec(self) -> RunSpec | None:
        """What names the run; None where its processes do not."""
        return _decode_hello(self.hellos[0]).run if self.hellos else None


class Standing(msgspec.Struct):
    """The answer: what trains here, and the daemon's own machine and whether it samples that itself."""

    runs: list[Run] = []
    host: str | None = None
    boot_id: str | None = None
    sampling: str | None = None


_decode_hello = msgspec.msgpack.Decoder(Hello).decode


class Asker:
    """The thread. `news` is called on it when an answer differs from the one before."""

    def __init__(self, endpoint: str, spool_dir: Path, host: str, news: Callable[[], None]) -> None:
        self._endpoint = endpoint
        self._spool_dir = spool_dir
        self._host = host
        self._news = news
        self._stop = threading.Event()
        self._trouble: str | None = ""
        self.standing = Standing()
        """The newest answer."""
        self._thread = threading.Thread(target=self._main, name="node-asker", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(2 * ASK_TIMEOUT_S)

    def _main(self) -> None:
        while not self._stop.is_set():
            try:
                self._heed(ask(self._endpoint, "node", self._arguments(), ASK_TIMEOUT_S))
                self._tell(None)
            except (NoAnswerError, msgspec.MsgspecError) as error:
                self._tell(str(error))
            except Exception as error:  # noqa: BLE001 - counted and told; the next question may have another answer
                guard.swallow("node.question", error)
            self._stop.wait(ASK_PERIOD_S)

    def _arguments(self) -> dict[str, Any]:
        """Processes are known by their host's name, or, in containers with names of their own, by their journals."""
        try:
            sessions = [entry.name for entry in self._spool_dir.iterdir() if _SESSION.fullmatch(entry.name)]
        except OSError:
            sessions = []
        return {"host": self._host, "sessions": sessions}

    def _heed(self, answer: dict[str, Any]) -> None:
        standing = msgspec.convert(answer, Standing)
        if standing != self.standing:
            self.standing = standing
            self._news()

    def _tell(self, trouble: str | None) -> None:
        """Once for each change."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble is None:
            log.info("daemon_answers endpoint=%s", self._endpoint)
        else:
            log.warning("daemon_silent endpoint=%s reason=%r; samples wait here", self._endpoint, trouble)
