"""The sender's thread: ships the journal, takes acks, tends the supply of segments. The only owner of the socket.

It turns every TICK_S (sooner while somebody waits in `flush` or `finish`), does everything without blocking, and
survives whatever goes wrong in a turn: the error is counted and the next turn tries again. A turn takes the interpreter
from training, so while nothing presses most turns only ship.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from client import guard
from client.delivery import Delivery, Phase
from client.errors import KeyRefusedError, NoAnswerError
from client.journal.blobs import Blobs
from client.journal.supply import Supply
from client.journal.writer import JournalWriter
from client.limits import ASKING_TICK_S, ASKING_TICKS_FOR_S, LEISURE_TURNS, NOTICE_AFTER_S, TICK_S, URGENT_TICK_S
from client.protocol import frames
from client.protocol.errors import ProtocolError
from client.protocol.messages import Ack, Answer, Ask, Bye, FromDaemon, Hello, Refuse, Report, Welcome
from client.protocol.records import Clock, encode
from client.shipping import Shipping

if TYPE_CHECKING:
    from client.connection import Connection


class Question:
    """An Ask on its way; `answer` is set before `answered`."""

    def __init__(self, kind: str, args: dict[str, Any]) -> None:
        self.kind = kind
        self.args = args
        self.answer: Answer | None = None
        self.answered = threading.Event()

    def result(self, timeout_s: float) -> dict[str, Any]:
        """The answer, once it is there. Raises NoAnswerError when none comes in time, or the daemon has none."""
        if not self.answered.wait(timeout_s) or self.answer is None:
            raise NoAnswerError(f"the daemon did not answer `{self.kind}` within {timeout_s:g} s")
        if self.answer.error is not None:
            raise NoAnswerError(self.answer.error)
        return self.answer.result


class Sender:
    """Ships one session's journal to the daemon at `endpoint`."""

    def __init__(
        self,
        hello: Hello,
        endpoint: str,
        writer: JournalWriter,
        blobs: Blobs,
        supply: Supply,
        on_start: Callable[[], None],
        on_absent: Callable[[], None],
        on_stop: Callable[[], None],
        on_refused: Callable[[str], None],
    ) -> None:
        """Called on the thread: `on_start` when it begins, and, once each, `on_absent` when no daemon answers and
        `on_stop` when W&B asks the run to stop; `on_refused` with each new reason why the daemon lets nobody in."""
        self.delivery = Delivery()
        self.report: Report | None = None
        self.clock_offset_ns: int | None = None
        """The daemon's clock minus this machine's, as of the newest greeting."""
        self.changed = threading.Condition()
        self.each_turn: Callable[[], None] | None = None
        """Called on the thread at each turn; does not wait."""
        self._hello = hello
        self._endpoint = endpoint
        self._writer = writer
        self._supply = supply
        self._on_start = on_start
        self._on_refused = on_refused
        self.refusal: str | None = None
        self._on_stop: Callable[[], None] | None = on_stop
        self._on_absent: Callable[[], None] | None = on_absent
        self._blobs = blobs
        self._shipping = Shipping(writer, blobs)
        self._connection: Connection | None = None
        self._questions: deque[Question] = deque()
        self._asked: dict[int, Question] = {}
        self._asked_s = 0.0
        """When the newest of them left or was answered."""
        self._next_question = 1
        self._waiters = 0
        self._turns = 0
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._importing: threading.Thread | None = None
        self._started_s = time.monotonic()

    def start(self) -> None:
        """Start the thread; when the interpreter gives none any more, `stop` ships what it can on the caller's."""
        thread = threading.Thread(target=self._run, name="telemetryd-sender", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # "can't start new thread": at the limit, or while the interpreter goes down
            guard.swallow("sender.start", error)
            return
        self._thread = thread

    def stop(self, timeout_s: float) -> bool:
        """Ship for at most `timeout_s` more, until everything is acked, then end. Returns whether all was acked."""
        deadline_s = time.monotonic() + timeout_s
        if self._thread is None or not self._thread.is_alive():
            self._ship_inline(deadline_s)
        else:
            self.wait(self.all_acked, timeout_s)
        done = self.all_acked()
        self._stopping.set()
        self._writer.wanted.set()
        if self._thread is None:
            self._hang_up()
        else:
            self._stopped.wait(max(1.0, deadline_s - time.monotonic()))
        if self._importing is not None:
            self._importing.join(max(1.0, deadline_s - time.monotonic()))
        return done

    def orphan(self) -> None:
        """In a forked child: the thread is not there, and what it held locked stays locked."""
        self.changed = threading.Condition()
        self._thread = None
        self._connection = None
        self._questions.clear()
        self._stopping.set()

    @property
    def running(self) -> bool:
        """Whether the thread turns: without it nobody makes room or brings news."""
        return self._thread is not None and self._thread.is_alive()

    def all_acked(self) -> bool:
        """Whether everything journaled so far is in the daemon's inbox."""
        return self.delivery.acked >= self._writer.sequence

    def wait(self, predicate: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `predicate` holds, with the sender turning at its quick pace. Returns whether it does."""
        with self.changed:
            self._waiters += 1
            self._writer.wanted.set()
            try:
                return self.changed.wait_for(predicate, timeout_s)
            finally:
                self._waiters -= 1

    def post(self, kind: str, args: dict[str, Any]) -> Question:
        """Put a question on the session's connection and go on; it leaves behind the rows that are ready now."""
        question = Question(kind, args)
        self._questions.append(question)
        return question

    def ask(self, kind: str, args: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Put a question on the session's connection. Raises NoAnswerError."""
        question = self.post(kind, args)
        if not self.wait(question.answered.is_set, timeout_s) or question.answer is None:
            raise NoAnswerError(f"the daemon at {self._endpoint} did not answer `{kind}` within {timeout_s:g} s")
        if question.answer.error is not None:
            raise NoAnswerError(question.answer.error)
        return question.answer.result

    def _run(self) -> None:
        self._stopping.wait(TICK_S)  # `init` returns first: it has made segments, and wants the interpreter itself
        try:
            self._on_start()
        except Exception as error:  # noqa: BLE001 - as below
            guard.swallow("sender.start", error)
        try:
            while not self._stopping.is_set():
                try:
                    self._turn()
                except Exception as error:  # noqa: BLE001 - whatever it was, training must not notice
                    guard.swallow("sender.turn", error)
                self._writer.wanted.wait(self._tick_s())
        finally:
            self._hang_up()
            self._stopped.set()

    def _tick_s(self) -> float:
        if self._waiters:
            return URGENT_TICK_S
        return ASKING_TICK_S if self._is_asking(time.monotonic()) else TICK_S

    def _is_asking(self, now_s: float) -> bool:
        """Whether a question waits, or an answer is to be expected: some are lost with their daemon."""
        return bool(self._questions) or (bool(self._asked) and now_s - self._asked_s < ASKING_TICKS_FOR_S)

    def _ship_inline(self, deadline_s: float) -> None:
        """Without a thread: turn on the caller's until all is acked or time is up."""
        while not self.all_acked() and time.monotonic() < deadline_s:
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - as in _run
                guard.swallow("sender.turn", error)
            time.sleep(URGENT_TICK_S)

    def _turn(self) -> None:
        now_s = time.monotonic()
        self._turns += 1
        if self.each_turn is not None:
            self.each_turn()
        if self._at_leisure(now_s):
            self._ship(now_s)
            return
        self._tend(now_s)  # first, and again below: a logging call must never find that there is no segment
        if not self._connect():
            return
        assert self._connection is not None
        self._receive(now_s)
        if self._connection.mind_the_handshake(now_s):
            self.delivery.reopened(now_s)
        self._tell_refusal(self._connection.refusal)
        if self.delivery.overdue(now_s):
            self._connection.reopen()
            self.delivery.reopened(now_s)
        self._greet(now_s)
        self._writer.append_losses()
        self._ship(now_s)
        self._ask(now_s)
        self._tend(now_s)
        self._notice(now_s)
        if self._waiters:
            with self.changed:
                self.changed.notify_all()

    def _at_leisure(self, now_s: float) -> bool:
        """Whether nothing asks for more than shipping at this turn."""
        return (
            self._turns % LEISURE_TURNS != 0
            and self.delivery.has_much_room()
            and not self._waiters
            and not self._writer.wanted.is_set()
            and bool(self._writer.spares)
            and self._writer.current.is_ahead
            and not self._is_asking(now_s)
            and self._blobs.at_rest
        )

    def _tend(self, now_s: float) -> None:
        self._shipping.leave_shipped()
        self._supply.tend(self.delivery.acked, now_s)

    def _connect(self) -> bool:
        """Whether there is a connection. zmq is imported on a thread of its own: beside a thread that keeps the
        interpreter busy that takes half a second, in which the journal must not go without segments."""
        if self._connection is not None:
            return True
        if self._importing is None and self._thread is not None:
            self._importing = threading.Thread(target=_import_connection, name="telemetryd-import", daemon=True)
            self._importing.start()
        if self._importing is not None and self._importing.is_alive():
            return False
        from client.connection import Connection

        self._connection = Connection(self._endpoint)
        return True

    def _receive(self, now_s: float) -> None:
        assert self._connection is not None
        while True:
            try:
                message = self._connection.receive()
            except ProtocolError as error:
                guard.swallow("sender.receive", error)
                continue
            if message is None:
                return
            self._handle(message, now_s)

    def _handle(self, message: FromDaemon, now_s: float) -> None:
        if isinstance(message, Answer):
            question = self._asked.pop(message.id, None)
            self._asked_s = now_s
            if question is not None:
                question.answer = message
                question.answered.set()
        elif message.session not in (None, self._hello.session):
            guard.swallow("sender.receive", ProtocolError(f"a message for session {message.session}"))
        elif isinstance(message, Ack):
            self.delivery.ack(message.acked, now_s)
        elif isinstance(message, Report):
            self.report = message
            if message.stop_requested and self._on_stop is not None:
                on_stop, self._on_stop = self._on_stop, None
                on_stop()
        elif isinstance(message, Welcome):
            self._on_absent = None
            self._compare_clocks(message)
            self.delivery.welcome(message.acked, message.window_bytes, now_s)
            self._shipping.seek(self.delivery.acked + 1)
        elif isinstance(message, Refuse):
            self.delivery.refused(message.code, message.acked, message.message, now_s)
            if message.code == "gap":
                self._shipping.seek(self.delivery.acked + 1)
            elif message.code not in ("unknown_session", "stopping"):
                guard.swallow("sender.refused", ProtocolError(f"{message.code}: {message.message}"))

    def _greet(self, now_s: float) -> None:
        assert self._connection is not None
        if self.delivery.should_greet(now_s):
            self._hello.sent_ns = time.time_ns()
            handed_over = self._connection.send(frames.pack(self._hello))
            self.delivery.greeted(now_s, handed_over=handed_over)

    def _compare_clocks(self, welcome: Welcome) -> None:
        """As NTP does, from the four times of Hello and Welcome; a rank's session tells it, since it may share its run
        with other machines'."""
        now_ns = time.time_ns()
        if welcome.hello_ns != self._hello.sent_ns or not welcome.received_ns:
            return  # an answer to an earlier Hello, or of a daemon that tells no times
        offset_ns = ((welcome.received_ns - welcome.hello_ns) + (welcome.sent_ns - now_ns)) // 2
        delay_ns = (now_ns - welcome.hello_ns) - (welcome.sent_ns - welcome.received_ns)
        if delay_ns < 0:
            return
        self.clock_offset_ns = offset_ns
        if self._hello.rank is not None:
            self._writer.append(encode(Clock(now_ns, offset_ns, delay_ns)), is_row=False)

    def _ask(self, now_s: float) -> None:
        assert self._connection is not None
        while self._questions:
            question = self._questions[0]
            if not self._connection.send(frames.pack(Ask(self._next_question, question.kind, question.args))):
                return
            self._asked[self._next_question] = self._questions.popleft()
            self._asked_s = now_s
            self._next_question += 1

    def _ship(self, now_s: float) -> None:
        assert self._connection is not None
        while self.delivery.room_bytes() > 0:
            stretch = self._shipping.next()
            if stretch is None:
                return
            offered = self._writer.rows + sum(self._writer.dropped.values())
            message = frames.batch(self._hello.session, stretch.first, stretch.last, stretch.payload, offered)
            if not self._connection.send(message):
                self._shipping.seek(stretch.first)
                return
            self.delivery.sending(stretch.last, len(stretch.payload), now_s)

    def _notice(self, now_s: float) -> None:
        """Once, when no daemon has answered for a while: tell how to start one."""
        if self._on_absent is not None and now_s - self._started_s >= NOTICE_AFTER_S:
            if self.delivery.phase in (Phase.ABSENT, Phase.GREETING):
                self._on_absent()
            self._on_absent = None

    def _tell_refusal(self, refusal: str | None) -> None:
        """Once for each reason: the daemon lets this process not in."""
        if refusal == self.refusal:
            return
        self.refusal = refusal
        if refusal is not None:
            guard.swallow("sender.key", KeyRefusedError(refusal))
            self._on_absent = None
            self._on_refused(refusal)

    def _hang_up(self) -> None:
        if self._connection is None:
            return
        try:
            self._connection.send(frames.pack(Bye(self._hello.session)))
            self._connection.close(linger_s=0.2)
        except Exception as error:  # noqa: BLE001 - as in _run
            guard.swallow("sender.hang_up", error)
        self._connection = None


def _import_connection() -> None:
    try:
        import shutil  # noqa: F401 - the end removes the session's folder with it, and nothing is loaded then

        import client.connection  # noqa: F401
    except Exception as error:  # noqa: BLE001 - a broken zmq is telemetry's own trouble
        guard.swallow("sender.import", error)
