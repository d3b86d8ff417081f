"""The desk: frames in, one inbox transaction a turn, replies out. No bad input raises out of here.

    take(connection, frames) …   checks what needs no state; answers Asks and refuses nonsense at once
    settle(now)                  stores the turn's hellos and batches in one transaction, then welcomes and acks

Invariants
* An Ack or Welcome leaves after the commit of what it speaks of.
* A batch is taken only from the connection that was welcomed for its session.
* When the inbox cannot take the turn, nothing of it is stored and every client is told to wait ("full").
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from client.protocol import frames, version
from client.protocol.errors import ProtocolError
from client.protocol.framing import Buffer
from client.protocol.messages import Ack, Answer, Ask, Batch, Bye, FromClient, FromDaemon, Hello, Refuse, Welcome
from telemetryd.errors import (
    GapError,
    InboxCorruptError,
    InboxError,
    InboxUnavailableError,
    SessionClaimError,
    UnknownSessionError,
)
from telemetryd.health.counters import Counters
from telemetryd.health.status import Health, State
from telemetryd.inbox.claims import batch_problem, hello_problem
from telemetryd.inbox.intake import Greeted, Kept
from telemetryd.inbox.store import Inbox
from telemetryd.limits import REFUSAL_LOG_INTERVAL_S, WINDOW_BYTES
from telemetryd.reception.content_desk import KINDS, OF_SESSION
from telemetryd.reception.questions import QuestionError, Questions
from telemetryd.reception.sessions import Sessions

log = logging.getLogger(__name__)

Reply = tuple[bytes, FromDaemon]
COMPONENT = "inbox"
DEFERRED = KINDS | {"api"}
"""Questions that other threads answer: they need a disk, or W&B."""


@dataclass
class Turn:
    """What a turn has come to: what to send, and the runs that have news."""

    replies: list[Reply] = field(default_factory=list)
    records_in: set[int] = field(default_factory=set)
    sessions_changed: bool = False


@dataclass(frozen=True)
class _Work:
    connection: bytes
    message: Hello | Batch
    payload: Buffer = b""
    received_ns: int = 0
    uid: int | None = None


class Desk:
    """Reception's work on messages, without the socket. Used by one thread."""

    def __init__(
        self,
        inbox: Inbox,
        sessions: Sessions,
        questions: Questions,
        counters: Counters,
        health: Health,
        inbox_max_bytes: int,
        daemon_version: str,
        older_is_gone: Callable[[bytes, Ack], bool],
        defer: Callable[[bytes, Ask], bool],
    ) -> None:
        """`older_is_gone` probes a connection with an Ack, and tells whether nobody is there any more. `defer` hands a
        question to another thread that answers it; False when it cannot."""
        self._defer = defer
        self._inbox = inbox
        self._sessions = sessions
        self._questions = questions
        self._counters = counters
        self._health = health
        self._max_bytes = inbox_max_bytes
        self._daemon_version = daemon_version
        self._older_is_gone = older_is_gone
        self._work: list[_Work] = []
        self._turn = Turn()
        self._refusals_logged: dict[str, tuple[float, int]] = {}
        self.stopping = False

    def take(self, connection: bytes, parts: Sequence[Buffer], now_s: float, uid: int | None = None) -> int:
        """Take one message; the payload's size in bytes. Whatever is wrong with it becomes a Refuse.

        `uid` is the connection's user, where the kernel tells.
        """
        self._counters.add("messages_received")
        try:
            message, payload = frames.unpack_from_client(parts)
        except ProtocolError as error:
            self._refuse(connection, error.code, str(error), now_s=now_s)
            return 0
        size = len(payload) if payload is not None else 0
        self._counters.add("bytes_received", size)
        self._dispatch(connection, message, payload, now_s, uid)
        return size

    def _dispatch(
        self, connection: bytes, message: FromClient, payload: Buffer | None, now_s: float, uid: int | None
    ) -> None:
        if isinstance(message, Ask):
            self._answer(connection, message, now_s)
        elif isinstance(message, Bye):
            if self._sessions.heard(message.session, connection, now_s):
                self._sessions.leave(message.session)
                self._turn.sessions_changed = True
        elif self.stopping:
            self._refuse(connection, "stopping", "the daemon is stopping", message.session, now_s=now_s)
        elif isinstance(message, Hello):
            self._take_hello(connection, message, now_s, uid)
        else:
            self._take_batch(connection, message, payload or b"", now_s)

    def _take_hello(self, connection: bytes, hello: Hello, now_s: float, uid: int | None) -> None:
        problem = hello_problem(hello)
        if problem:
            self._refuse(connection, "malformed", problem, now_s=now_s)
            return
        older = self._sessions.get(hello.session)
        if older is not None and older.connection != connection:
            if self._older_is_gone(older.connection, Ack(hello.session, older.acked)):
                self._sessions.gone(older.connection)
            elif self._sessions.must_wait(hello.session, connection, now_s):
                self._refuse(
                    connection, "session_taken", "another live connection has the session", hello.session, now_s=now_s
                )
                return
        self._work.append(_Work(connection, hello, received_ns=time.time_ns(), uid=uid))

    def _take_batch(self, connection: bytes, batch: Batch, payload: Buffer, now_s: float) -> None:
        problem = batch_problem(batch)
        if problem:
            self._refuse(connection, "malformed", problem, now_s=now_s)
        elif not self._sessions.heard(batch.session, connection, now_s):
            self._refuse(connection, "unknown_session", "say hello first", batch.session, now_s=now_s)
        else:
            self._work.append(_Work(connection, batch, payload))

    def _answer(self, connection: bytes, ask: Ask, now_s: float) -> None:
        number = ask.id
        if ask.kind in DEFERRED:
            problem = self._deferred_problem(connection, ask, now_s)
            if problem is not None:
                self._turn.replies.append((connection, Answer(number, error=problem)))
            return
        try:
            answer = Answer(number, self._questions.answer(ask.kind, ask.args))
        except QuestionError as error:
            answer = Answer(number, error=str(error))
        except InboxError as error:
            answer = Answer(number, error=f"the inbox cannot be read: {error}")
        self._turn.replies.append((connection, answer))

    def _deferred_problem(self, connection: bytes, ask: Ask, now_s: float) -> str | None:
        """Hand a question on; why that cannot be."""
        if self.stopping:
            return "the daemon is stopping"
        if ask.kind in OF_SESSION:
            session = str(ask.args.get("session"))
            live = self._sessions.get(session)
            if (
                live is None or live.connection != connection
            ):  # a daemon that was restarted: an idle client hears it here
                self._refuse(connection, "unknown_session", "say hello first", session, now_s=now_s)
                return "say hello first: content is taken from the session that it belongs to"
        return None if self._defer(connection, ask) else "too many questions wait; ask again"

    def _refuse(
        self, connection: bytes, code: str, message: str, session: str | None = None, acked: int = 0, *, now_s: float
    ) -> None:
        self._counters.add(f"refused_{code}")
        logged_s, count = self._refusals_logged.get(code, (-REFUSAL_LOG_INTERVAL_S, 0))
        if now_s - logged_s >= REFUSAL_LOG_INTERVAL_S:
            log.warning(
                "refused code=%s count=%d session=%s reason=%r",
                code,
                count + 1,
                session and session[:64],
                message[:200],
            )
            self._refusals_logged[code] = (now_s, 0)
        else:
            self._refusals_logged[code] = (logged_s, count + 1)
        refusal = Refuse(code, message[:1000], session and session[:64], acked, version.MAJOR, version.MINOR)
        self._turn.replies.append((connection, refusal))

    # The turn's transaction.

    def settle(self, now_s: float) -> Turn:
        """Store what was taken, and hand out the turn's replies."""
        work, self._work = self._work, []
        if work:
            try:
                self._store(work, now_s)
            except InboxError as error:
                self._put_off(work, error, now_s)
            except Exception:
                log.exception("turn_failed messages=%d", len(work))
                self._counters.add("reception_errors")
                self._store_one_by_one(work, now_s)
        turn, self._turn = self._turn, Turn()
        return turn

    def _store(self, work: list[_Work], now_s: float) -> None:
        greeted: list[tuple[_Work, Greeted]] = []
        kept: list[tuple[_Work, Kept]] = []
        refused: list[tuple[_Work, str, str, int]] = []
        room = self._max_bytes - self._inbox.database.used_bytes()
        full = False
        with self._inbox.transaction():
            now_ns = time.time_ns()
            for item in work:
                try:
                    if isinstance(item.message, Hello):
                        greeted.append((item, self._inbox.intake.hello(item.message, now_ns, item.uid)))
                        continue
                    batch = item.message
                    if len(item.payload) > room:
                        full = True
                        refused.append((item, "full", self._full_message(), 0))
                        continue
                    stored = self._inbox.intake.append(
                        batch.session, batch.first, batch.last, item.payload, batch.offered
                    )
                    room -= len(item.payload)
                    kept.append((item, stored))
                except GapError as error:
                    refused.append((item, "gap", str(error), error.acked))
                except SessionClaimError as error:
                    refused.append((item, "session_taken", str(error), 0))
                except UnknownSessionError as error:
                    refused.append((item, "unknown_session", str(error), 0))
                except ProtocolError as error:
                    refused.append((item, error.code, str(error), 0))
        if full:
            self._health.set(COMPONENT, State.RECOVERABLE, self._full_message())
        else:
            self._health.set(COMPONENT, State.OK)
        for item, code, message, acked in refused:
            self._refuse(item.connection, code, message, item.message.session, acked, now_s=now_s)
        self._welcome(greeted, now_s)
        self._acknowledge(kept)

    def _full_message(self) -> str:
        return f"the inbox is at its cap of {self._max_bytes} bytes until W&B confirms some of it"

    def _welcome(self, greeted: list[tuple[_Work, Greeted]], now_s: float) -> None:
        for item, result in greeted:
            hello = item.message
            assert isinstance(hello, Hello)
            self._sessions.welcome(hello.session, item.connection, result.run_id, result.acked, now_s)
            welcome = Welcome(
                hello.session,
                result.acked,
                version.MAJOR,
                version.MINOR,
                daemon=self._daemon_version,
                window_bytes=WINDOW_BYTES,
                hello_ns=hello.sent_ns,
                received_ns=item.received_ns,
                sent_ns=time.time_ns(),
            )
            self._turn.replies.append((item.connection, welcome))
            self._turn.sessions_changed = True
            if result.run_id is not None:
                self._turn.records_in.add(result.run_id)

    def _acknowledge(self, kept: list[tuple[_Work, Kept]]) -> None:
        if kept:
            self._counters.add("turns")
        acks: dict[str, tuple[bytes, int]] = {}
        for item, result in kept:
            batch = item.message
            assert isinstance(batch, Batch)
            acks[batch.session] = (item.connection, result.acked)
            self._sessions.kept(batch.session, result.run_id, result.acked)
            self._counters.add("rows_received", result.rows)
            self._counters.add("records_repeated", batch.last - batch.first + 1 - result.records)
            self._counters.add("early_output_dropped_bytes", result.trimmed_bytes)
            self._counters.add("samples_dropped", result.samples_lost)
            if result.run_id is not None and result.records:
                self._turn.records_in.add(result.run_id)
            self._turn.sessions_changed |= result.ended
        self._turn.replies += [(connection, Ack(session, acked)) for session, (connection, acked) in acks.items()]

    def _put_off(self, work: list[_Work], error: InboxError, now_s: float) -> None:
        """The inbox takes nothing now: everybody waits, and nothing was stored."""
        reason = f"the inbox cannot be written: {error}"
        if isinstance(error, InboxCorruptError):
            reason += "; restart the daemon, which moves the damaged file aside"
        permanent = not isinstance(error, InboxUnavailableError)
        self._health.set(COMPONENT, State.PERMANENT if permanent else State.RECOVERABLE, reason)
        for item in work:
            self._refuse(item.connection, "full", reason, item.message.session, now_s=now_s)

    def _store_one_by_one(self, work: list[_Work], now_s: float) -> None:
        """After an unexpected error: find the message that does it, refuse that one and keep the others."""
        for item in work:
            try:
                self._store([item], now_s)
            except InboxError as error:
                self._put_off([item], error, now_s)
            except Exception as error:
                log.exception("message_failed session=%s", item.message.session)
                self._refuse(item.connection, "malformed", repr(error), item.message.session, now_s=now_s)
