"""The reception thread: drain the socket, store the turn, reply, and tell clients how their runs stand.

Everything else in the daemon talks to it through the thread-safe methods at the end of `Reception`, and hears from it
through `Listener`, whose methods are called on this thread and must not block.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from client.protocol import frames
from client.protocol.errors import OversizedError
from client.protocol.messages import Ack, Answer, Ask, FromDaemon
from telemetryd.bell import Bell
from telemetryd.errors import InboxError
from telemetryd.health.counters import Counters
from telemetryd.health.deliveries import Deliveries
from telemetryd.health.events import Events
from telemetryd.health.pulse import Pulse
from telemetryd.health.status import Health, State
from telemetryd.inbox.content import DOWNLOADS_NAME, Places
from telemetryd.inbox.home import Home
from telemetryd.inbox.store import Inbox
from telemetryd.limits import (
    PROBE_INTERVAL_S,
    REFUSAL_LOG_INTERVAL_S,
    REPORT_INTERVAL_S,
    STOPPING_PAUSE_S,
    TURN_FAILURES_MAX,
    TURN_MAX_BYTES,
    TURN_MAX_MESSAGES,
)
from telemetryd.reception.content_desk import ContentDesk
from telemetryd.reception.desk import Desk, Turn
from telemetryd.reception.keys import Keyring
from telemetryd.reception.questions import Questions
from telemetryd.reception.reports import ReportSchedule
from telemetryd.reception.sessions import Sessions
from telemetryd.reception.socket import RouterSocket

log = logging.getLogger(__name__)

COMPONENT = "reception"
_IDLE_WAIT_S = 1.0


class Listener(Protocol):
    """Who wants to know what reception has got."""

    def records_came(self, runs: set[int]) -> None:
        """These runs have something new in the inbox."""

    def sessions_changed(self) -> None:
        """A session began, ended or left its connection."""

    def retire_asked(self) -> None:
        """Somebody asked the daemon to leave when it has nothing to do."""


class Reception:
    """The thread behind the endpoint."""

    def __init__(
        self,
        endpoint: str,
        home: Home,
        inbox_max_bytes: int,
        identity: dict[str, Any],
        listener: Listener,
        health: Health,
        counters: Counters,
        deliveries: Deliveries,
        events: Events,
        places: Places,
        artifact_max_bytes: int,
        ask_api: Callable[[bytes, Ask], bool],
        keyring: Keyring | None = None,
        machine: Callable[[], dict[str, Any]] = dict,
        pulse: Pulse | None = None,
    ) -> None:
        """Bind the endpoint, which must have been claimed. Raises PlaceError or AlreadyServingError."""
        self._home = home
        self._inbox_max_bytes = inbox_max_bytes
        self._identity = identity
        self._listener = listener
        self._health = health
        self._counters = counters
        self._deliveries = deliveries
        self._events = events
        self._ask_api = ask_api
        self._machine = machine
        self._pulse = pulse or Pulse()
        self._content = ContentDesk(
            home, places, home.path.parent / DOWNLOADS_NAME, artifact_max_bytes, self._counters, self.answer
        )
        self._answers: deque[tuple[bytes, Answer]] = deque()
        self._bell = Bell()
        self._lock = threading.Lock()
        self._news: dict[int, bool] = {}
        self._refuse_intake = False
        self._end = False
        self._connected: frozenset[str] = frozenset()
        self.turned_s: float | None = None
        """When the thread last came round, on time.monotonic()'s clock; None before it serves."""
        self._sessions = Sessions()
        self._reports = ReportSchedule(REPORT_INTERVAL_S)
        self._next_probe_s = 0.0
        self._refused_said_s = -REFUSAL_LOG_INTERVAL_S
        self._refused_unsaid = 0
        try:
            self._socket = RouterSocket(endpoint, self._bell.fileno(), keyring)
        except BaseException:
            self._bell.close()
            raise
        self._thread = threading.Thread(target=self._main, name="reception", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._content.start()
        self._thread.start()

    def _main(self) -> None:
        try:
            inbox = Inbox(self._home.path, self._home)
        except InboxError as error:
            self._health.set(COMPONENT, State.PERMANENT, f"the inbox cannot be opened: {error}")
            self._listener.sessions_changed()
            return
        try:
            self._serve(inbox)
        except Exception as error:
            log.exception("reception_ended")
            self._health.set(COMPONENT, State.PERMANENT, f"reception ended: {error!r}")
            self._listener.sessions_changed()
        finally:
            inbox.close()

    def _serve(self, inbox: Inbox) -> None:
        questions = self.questions(inbox)
        desk = Desk(
            inbox,
            self._sessions,
            questions,
            self._counters,
            self._health,
            self._inbox_max_bytes,
            self._identity["version"],
            self._is_gone,
            self._defer,
        )
        self._health.set(COMPONENT, State.OK)
        failures = 0
        while not self._end:
            self.turned_s = time.monotonic()
            self._socket.wait(self._wait_s(time.monotonic()))
            self._bell.silence()
            self._pulse.beat(COMPONENT)
            try:
                self._turn(desk, inbox, questions)
                failures = 0
            except InboxError as error:  # what was taken has been stored or refused; only reports were not sent
                log.error("inbox_unreadable error=%r", str(error))
                self._counters.add("reception_errors")
            except Exception:
                log.exception("turn_failed")
                self._counters.add("reception_errors")
                failures += 1
                if failures >= TURN_FAILURES_MAX:
                    raise
        for live in self._sessions:  # the last word to every client that is still there
            self._send(live.connection, Ack(live.session, live.acked))
        self._health.set(COMPONENT, State.STOPPED)

    def _wait_s(self, now_s: float) -> float:
        due_s = self._reports.next_due_s()
        times = [_IDLE_WAIT_S]
        if due_s is not None:
            times.append(due_s - now_s)
        if len(self._sessions):
            times.append(self._next_probe_s - now_s)
        return max(0.0, min(times))

    def _turn(self, desk: Desk, inbox: Inbox, questions: Questions) -> None:
        now_s = time.monotonic()
        desk.stopping = self._refuse_intake
        if self._socket.mind_the_crowd():
            log.warning("connections_dropped reason=%r", "descriptors run short; clients come back by themselves")
            self._counters.add("crowds_dropped")
        self._refuse_at_the_door(now_s)
        taken_bytes = 0
        for _ in range(TURN_MAX_MESSAGES):
            received = self._socket.receive()
            if received is None:
                break
            connection, parts, uid = received
            taken_bytes += desk.take(connection, parts, now_s, uid)
            if taken_bytes >= TURN_MAX_BYTES:
                break
        turn = desk.settle(now_s)
        with self._lock:
            while self._answers:
                turn.replies.append(self._answers.popleft())
        for connection, message in turn.replies:
            if not self._send(connection, message):
                self._counters.add("replies_undeliverable")
        self._tell(turn, now_s)
        if now_s >= self._next_probe_s:
            self._next_probe_s = now_s + PROBE_INTERVAL_S
            self._probe(now_s)
        self._report(inbox, questions, now_s)

    def _refuse_at_the_door(self, now_s: float) -> None:
        refused = self._socket.mind_the_door(now_s)
        self._counters.add("refused_key", len(refused))
        self._refused_unsaid += len(refused)
        if refused and now_s >= self._refused_said_s + REFUSAL_LOG_INTERVAL_S:
            log.warning(
                "handshake_refused count=%d last=%r advice=%r",
                self._refused_unsaid,
                refused[-1],
                "clients need a key file of this daemon's: telemetryd keys",
            )
            self._refused_said_s, self._refused_unsaid = now_s, 0

    def _tell(self, turn: Turn, now_s: float) -> None:
        """Pass the turn's news on: to the supervisor, and into the reports that are due."""
        with self._lock:
            news, self._news = self._news, {}
        for run_id in turn.records_in:
            self._reports.changed(run_id, now_s, important=False)
        for run_id, important in news.items():
            self._reports.changed(run_id, now_s, important=important)
        if turn.records_in:
            self._listener.records_came(turn.records_in)
        if turn.sessions_changed:
            self._connected = frozenset(live.session for live in self._sessions)
            self._listener.sessions_changed()

    def _report(self, inbox: Inbox, questions: Questions, now_s: float) -> None:
        due = self._reports.take_due(now_s)
        if not due:
            return
        accounts = {run_id: inbox.ledger.run(run_id) for run_id in due}
        for live in self._sessions.of_runs(due):
            account = accounts.get(live.run_id) if live.run_id is not None else None
            if account is not None:
                self._send(live.connection, questions.report(live.session, account))

    def _probe(self, now_s: float) -> None:
        """Send silent connections their Ack again: those where nobody is any more are forgotten."""
        gone = False
        for live in self._sessions.silent(now_s, PROBE_INTERVAL_S):
            if self._is_gone(live.connection, Ack(live.session, live.acked)):
                for session in self._sessions.gone(live.connection):
                    log.info("connection_gone session=%s", session)
                gone = True
        if gone:
            self._connected = frozenset(live.session for live in self._sessions)
            self._listener.sessions_changed()

    def _is_gone(self, connection: bytes, ack: Ack) -> bool:
        return not self._socket.reachable(connection, frames.pack(ack))

    def _send(self, connection: bytes, message: FromDaemon) -> bool:
        try:
            parts = frames.pack(message)
        except OversizedError as error:
            if not isinstance(message, Answer):
                log.error("message_too_large kind=%s error=%r", type(message).__name__, str(error))
                return False
            parts = frames.pack(Answer(message.id, error=f"the answer is too large: {error}"))
        return self._socket.send(connection, parts)

    def _defer(self, connection: bytes, ask: Ask) -> bool:
        """Hand a question to whoever answers it later; False when nobody can take it now."""
        return self._ask_api(connection, ask) if ask.kind == "api" else self._content.take(connection, ask)

    # For other threads.

    def questions(self, inbox: Inbox) -> Questions:
        """What answers questions from an inbox connection of the caller's."""
        return Questions(
            inbox.ledger,
            inbox.progress,
            inbox.artifacts,
            self._health,
            self._counters,
            self._deliveries,
            self._events,
            self._identity,
            self._listener.retire_asked,
            self._machine,
        )

    def answer(self, connection: bytes, answer: Answer) -> None:
        """The answer to a question that was deferred."""
        with self._lock:
            self._answers.append((connection, answer))
        self._bell.ring()

    def run_changed(self, run_id: int, *, important: bool = False) -> None:
        """A run's numbers or state changed: tell its sessions, at once if it is important."""
        with self._lock:
            self._news[run_id] = self._news.get(run_id, False) or important
        self._bell.ring()

    def connected(self) -> frozenset[str]:
        """The sessions that have a connection."""
        return self._connected

    def alive(self) -> bool:
        """Whether the thread serves."""
        return self._thread.is_alive()

    def stop_intake(self) -> None:
        """Refuse what clients send from now on; questions are answered and reports go out as before."""
        self._refuse_intake = True
        self._health.set(COMPONENT, State.STOPPING)
        self._bell.ring()

    def close(self, timeout_s: float = 10.0) -> None:
        """End the thread and close the endpoint."""
        self._end = True
        self._content.close(timeout_s)
        self._bell.ring()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.error("reception_does_not_end")
            return
        self._socket.close(STOPPING_PAUSE_S)
        self._bell.close()
