"""Ships what dead processes left in this machine's spool to a daemon that cannot look there itself.

A daemon adopts the journals of its own spool. On another machine (a node of a distributed job that went down and came
back) nobody does: `push` says each dead session's Hello again and sends what the daemon lacks, by the protocol of the
session itself, so nothing is kept twice.

Invariants
* A folder is touched under its owner's lock alone, which the kernel gives out when the owner is dead.
* It is removed once the daemon has acknowledged everything in it, and else stays as it is.
* A journal that does not end with an End gets one, with the exit code of a process that died.
* The content of artifacts goes after all other records and before the End, with which the daemon would give it up.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.artifacts.courier import Courier
from client.connection import Connection
from client.errors import NoAnswerError
from client.journal import folder as spool
from client.journal.reader import Stretch, read_spool
from client.limits import REFUSED_PAUSE_S
from client.protocol import frames, framing, records, version
from client.protocol.artifacts import IDENTITY, ROOT_NAME
from client.protocol.errors import ProtocolError
from client.protocol.messages import Ack, Answer, Ask, Hello, Refuse, Welcome
from client.sender import Question

DIED = 255
"""The exit code of a process of which nobody knows more; what wandb shows as crashed."""


@dataclass(frozen=True)
class Pushed:
    """What became of one folder: how many records it held, and why it is still there (None: it is delivered)."""

    session: str
    records: int
    trouble: str | None = None


def push_all(spool_dir: Path, endpoint: str, timeout_s: float) -> Iterator[Pushed]:
    """Push every folder whose owner is dead, each within `timeout_s`."""
    if not spool_dir.is_dir():
        return
    for folder in sorted(spool_dir.iterdir()):
        if not (folder / spool.HELLO_NAME).exists():
            continue
        lock = spool.OwnerLock.take(folder)
        if lock is None:
            continue
        try:
            yield _push(folder, endpoint, timeout_s)
        finally:
            lock.release()


def _push(folder: Path, endpoint: str, timeout_s: float) -> Pushed:
    count = 0
    try:
        content = read_spool(folder)
        conversation = _Conversation(content.hello, endpoint, timeout_s)
        try:
            conversation.greet()
            end: Stretch | None = None
            for stretch in content.stretches():
                count += stretch.last - stretch.first + 1
                rest, end = _without_end(stretch)
                if rest is not None:
                    conversation.send(rest)
            if content.damage:
                raise ValueError("; ".join(content.damage))
            _push_content(folder, conversation)
            if count:
                conversation.send(end or _end(conversation.acked + 1))
        finally:
            conversation.close()
    except (OSError, ValueError, ProtocolError, NoAnswerError) as error:
        return Pushed(folder.name, count, str(error))
    spool.remove(folder)
    return Pushed(folder.name, count)


def _without_end(stretch: Stretch) -> tuple[Stretch | None, Stretch | None]:
    """(the records but an End at the end, the End): each None where there is none."""
    *_, (number, found) = framing.bodies(memoryview(stretch.payload), stretch.first)
    if found is None or not _is_end(bytes(found)):
        return stretch, None
    size = framing.HEADER_BYTES + len(found)
    end = Stretch(number, number, stretch.payload[-size:])
    if stretch.first == stretch.last:
        return None, end
    return Stretch(stretch.first, stretch.last - 1, stretch.payload[:-size]), end


def _push_content(folder: Path, conversation: _Conversation) -> None:
    """Send what the dead process had staged of artifacts; what the daemon does not want any more is removed."""
    staged = folder.parent / ROOT_NAME / folder.name
    if not staged.is_dir():
        return
    courier = Courier(conversation)
    for path in sorted(staged.iterdir()):
        if IDENTITY.fullmatch(path.name):
            courier.deliver_now(path.name, path)
    shutil.rmtree(staged, ignore_errors=True)


def _is_end(body: bytes) -> bool:
    try:
        return isinstance(records.decode(body), records.End)
    except ValueError:
        return False


def _end(number: int) -> Stretch:
    body = records.encode(records.End(time.time_ns(), DIED, implicit=True))
    return Stretch(number, number, framing.frame(body, number))


class _Question(Question):
    """A question whose waiting is what brings the answer."""

    def __init__(self, conversation: _Conversation, kind: str, args: dict[str, Any]) -> None:
        super().__init__(kind, args)
        self.answered = _Answered(conversation)


class _Answered(threading.Event):
    def __init__(self, conversation: _Conversation) -> None:
        super().__init__()
        self._conversation = conversation

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self._conversation.listen(timeout or 0.0)
        return self.is_set()


class _Conversation:
    """One dead session's word with the daemon: a stretch at a time, each acknowledged before the next."""

    def __init__(self, hello: Hello, endpoint: str, timeout_s: float) -> None:
        self._hello = hello
        self._deadline_s = time.monotonic() + timeout_s
        self._endpoint = endpoint
        self._connection = Connection(endpoint)
        self._asked: dict[int, _Question] = {}
        self.acked = 0

    @property
    def hello(self) -> Hello:
        """Who the dead process was."""
        return self._hello

    @property
    def connected(self) -> bool:
        """True: it has been greeted."""
        return True

    def post(self, kind: str, args: dict[str, Any]) -> Question:
        """Ask the daemon. Raises NoAnswerError when time is over."""
        question = _Question(self, kind, args)
        number = len(self._asked) + 1
        self._asked[number] = question
        self._hand_over(frames.pack(Ask(number, kind, args)))
        return question

    def listen(self, timeout_s: float) -> None:
        """Take what comes within the time, until something has."""
        self._check_time()
        if self._connection.wait(timeout_s):
            message = self._connection.receive()
            if isinstance(message, Answer) and (question := self._asked.get(message.id)) is not None:
                question.answer = message
                question.answered.set()

    def greet(self) -> None:
        """Say Hello until the daemon takes it. Raises NoAnswerError."""
        self._hello.major, self._hello.minor = version.MAJOR, version.MINOR
        while True:
            self._hand_over(frames.pack(self._hello))
            answer = self._answer()
            if isinstance(answer, Welcome):
                self.acked = answer.acked
                return
            time.sleep(REFUSED_PAUSE_S)  # another connection of the session is not known to be dead yet

    def send(self, stretch: Stretch) -> None:
        """Have a stretch kept. Raises NoAnswerError, ProtocolError."""
        while self.acked < stretch.last:
            if stretch.first > self.acked + 1:
                raise ProtocolError(f"records {self.acked + 1} to {stretch.first - 1} are missing")
            self._hand_over(frames.batch(self._hello.session, stretch.first, stretch.last, stretch.payload, 0))
            answer = self._answer()
            if isinstance(answer, Ack):
                self.acked = max(self.acked, answer.acked)
            elif isinstance(answer, Refuse):
                time.sleep(REFUSED_PAUSE_S)
                if answer.code == "unknown_session":
                    self.greet()

    def _hand_over(self, message: list[framing.Buffer]) -> None:
        while not self._connection.send(message):
            self._connection.mind_the_handshake(time.monotonic())
            self._check_time()
            time.sleep(0.005)

    def _answer(self) -> Ack | Welcome | Refuse:
        while True:
            self._check_time()
            if not self._connection.wait(0.2):
                continue
            message = self._connection.receive()
            if isinstance(message, Refuse) and message.code in ("version", "malformed", "oversized"):
                raise ProtocolError(f"{message.code}: {message.message}")
            if isinstance(message, Ack | Welcome | Refuse):
                return message

    def _check_time(self) -> None:
        if time.monotonic() >= self._deadline_s:
            raise NoAnswerError(self._connection.refusal or f"no daemon took it at {self._endpoint}")

    def close(self) -> None:
        """Hang up."""
        self._connection.close(0.2)
