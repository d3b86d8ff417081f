"""The thread that looks after sessions whose process died: adopts their spool, or notes that they are lost; and
after staged content of artifacts that is not needed any more.

A session is lost when nothing of it can come any more:
* its spool folder is there and its owner's lock is free: adopted, then ended by its End or lost;
* it has no folder and no connection, and its process is gone (same host), or it was silent for very long (elsewhere).
A session wrongly held to be lost opens again with its next record; nothing is refused for it.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from client.protocol.messages import Hello
from telemetryd.errors import InboxError
from telemetryd.health.counters import Counters
from telemetryd.health.status import Health, State
from telemetryd.inbox.adopt import Adopter, NoRoomError
from telemetryd.inbox.content import Places
from telemetryd.inbox.home import Home
from telemetryd.inbox.store import Inbox
from telemetryd.inbox.sweep import Sweep
from telemetryd.limits import ADOPT_INTERVAL_S, FOREIGN_SILENCE_S, RECONNECT_GRACE_S, WANDB_CACHE_LOOK_S
from telemetryd.supervision import leftovers

log = logging.getLogger(__name__)

COMPONENT = "adoption"
_START_SLACK_S = 3.0
"""A process is told from an earlier one of its number by its start time, which /proc gives to about a second."""
_POKE_PAUSE_S = 0.05

_decode_hello = msgspec.msgpack.Decoder(Hello).decode


class Undertaker:
    """The adoption thread."""

    def __init__(
        self,
        home: Home,
        spool_dir: Path,
        inbox_max_bytes: int,
        health: Health,
        counters: Counters,
        connected: Callable[[], frozenset[str]],
        changed: Callable[[set[int]], None],
        places: Places,
    ) -> None:
        """`changed` is called on this thread with the runs of sessions that were adopted or lost."""
        self._home = home
        self._spool_dir = spool_dir
        self._max_bytes = inbox_max_bytes
        self._health = health
        self._counters = counters
        self._connected = connected
        self._changed = changed
        self._stop = threading.Event()
        self._poked = threading.Event()
        self._places = places
        self._trim_at_s = 0.0
        self._unconnected_s: dict[str, float] = {}
        self._hosts = {os.uname().nodename, socket.gethostname()}
        self.rounds = 0
        self._thread = threading.Thread(target=self._main, name="undertaker", daemon=True)

    def start(self) -> None:
        """Begin, with a first round at once."""
        self._thread.start()

    def poke(self) -> None:
        """Something changed: look soon."""
        self._poked.set()

    def close(self, timeout_s: float = 10.0) -> None:
        """End the thread; a folder half adopted is finished at the next start."""
        self._stop.set()
        self._poked.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _main(self) -> None:
        try:
            inbox = Inbox(self._home.path, self._home)
        except InboxError as error:
            self._health.set(COMPONENT, State.PERMANENT, f"the inbox cannot be opened: {error}")
            return
        adopter = Adopter(inbox, self._spool_dir, self._max_bytes, self._counters, self._connected, self._stop)
        sweep = Sweep(inbox, self._places, self._spool_dir)
        try:
            while not self._stop.is_set():
                self._round(inbox, adopter)
                self._sweep(sweep)
                self.rounds += 1
                self._poked.wait(ADOPT_INTERVAL_S)
                self._poked.clear()
                self._stop.wait(_POKE_PAUSE_S)  # what comes in a bunch is looked at once
        finally:
            inbox.close()
            self._health.set(COMPONENT, State.STOPPED)

    def _round(self, inbox: Inbox, adopter: Adopter) -> None:
        try:
            adopted = adopter.scan(time.monotonic())
            news, lost = self._lose_the_dead(inbox, time.monotonic())
        except (InboxError, NoRoomError, OSError) as error:
            self._health.set(COMPONENT, State.RECOVERABLE, str(error))
            return
        except Exception as error:
            log.exception("adoption_round_failed")
            self._counters.add("adoption_errors")
            self._health.set(COMPONENT, State.RECOVERABLE, repr(error))
            return
        self._health.set(COMPONENT, State.OK)
        runs = {found.run_id for found in adopted if found.run_id is not None} | lost
        if news or adopted:
            self._changed(runs)

    def _sweep(self, sweep: Sweep) -> None:
        """Remove staged content that is not needed any more."""
        try:
            self._counters.add("staging_removed", sweep.round())
            if time.monotonic() >= self._trim_at_s:
                self._trim_at_s = time.monotonic() + WANDB_CACHE_LOOK_S
                sweep.trim_cache(self._home.path.parent)
        except (InboxError, OSError) as error:
            log.warning("sweep_failed error=%r", str(error))
        except Exception:
            log.exception("sweep_failed")
            self._counters.add("adoption_errors")

    def _lose_the_dead(self, inbox: Inbox, now_s: float) -> tuple[bool, set[int]]:
        """Note the sessions of dead processes that left no folder: (whether there were any, their runs)."""
        connected = self._connected()
        open_sessions = inbox.progress.open_sessions()
        waiting = {session for session, _, _ in open_sessions if session not in connected}
        for session in set(self._unconnected_s) - waiting:
            del self._unconnected_s[session]
        runs: set[int] = set()
        news = False
        for session, hello_bytes, _ in open_sessions:
            if session not in waiting or (self._spool_dir / session).exists():
                continue
            since_s = self._unconnected_s.setdefault(session, now_s)
            if self._is_dead(_decode_hello(hello_bytes), now_s - since_s):
                with inbox.transaction():
                    lost, run_id = inbox.intake.lose(session, time.time_ns())
                if lost:
                    log.warning("session_lost session=%s run=%s", session, run_id)
                    self._counters.add("sessions_lost")
                    news = True
                    runs |= set() if run_id is None else {run_id}
        return news, runs

    def _is_dead(self, hello: Hello, unconnected_for_s: float) -> bool:
        if hello.host not in self._hosts or not 0 < hello.pid < 2**31:
            return unconnected_for_s >= FOREIGN_SILENCE_S
        if unconnected_for_s < RECONNECT_GRACE_S:
            return False
        process = leftovers.identify(hello.pid)
        if process is None:
            return True
        return hello.start_time_ns > 0 and leftovers.started_s(process) > hello.start_time_ns / 1e9 + _START_SLACK_S
