"""A tiny client for tests of the daemon: speaks the wire with a real ZeroMQ socket, keeps no journal, hides nothing."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
import zmq

from client.protocol import frames, framing
from client.protocol.framing import Buffer
from client.protocol.messages import Ack, Answer, Ask, Bye, FromDaemon, Hello, Report, RunSpec, Welcome
from client.protocol.records import AnyRecord

DEADLINE_S = 15.0

_encode = msgspec.msgpack.Encoder().encode
M = TypeVar("M")


def encode_all(records: Sequence[AnyRecord], first: int) -> bytes:
    """The payload of a batch whose first record has number `first`."""
    return b"".join(framing.frame(_encode(record), first + index) for index, record in enumerate(records))


def new_session() -> str:
    """A session id."""
    return uuid.uuid4().hex


class WireClient:
    """One session on one connection. Use it in a `with`."""

    def __init__(
        self,
        endpoint: str,
        *,
        session: str | None = None,
        run_id: str = "run",
        role: str = "train",
        launch: str | None = None,
        pid: int | None = None,
        directory: str = "",
        mode: str = "offline",
    ) -> None:
        self.session = session or new_session()
        self.hello_message = Hello(
            self.session,
            role=role,
            run=RunSpec(run_id=run_id, mode=mode, directory=directory) if role == "train" else None,
            launch=launch,
            pid=os.getpid() if pid is None else pid,
            host=os.uname().nodename,
            start_time_ns=time.time_ns(),
        )
        self.acked = 0
        self.sent = 0
        self.reports: list[Report] = []
        self._context = zmq.Context()
        self._endpoint = endpoint
        self._asked = 0
        self.socket = self._connect()

    def _connect(self) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.DEALER)
        socket.set(zmq.LINGER, 0)
        socket.connect(self._endpoint)
        return socket

    def reconnect(self) -> None:
        """Come back on a new connection, as after a break."""
        self.socket.close(0)
        self.socket = self._connect()

    def close(self) -> None:
        """Close the connection without a word."""
        self.socket.close(0)
        self._context.term()

    def __enter__(self) -> WireClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send_frames(self, parts: Sequence[Buffer]) -> None:
        """Send any frames."""
        self.socket.send_multipart(parts)

    def receive(self, timeout_s: float = DEADLINE_S) -> FromDaemon:
        """The next message. Raises TimeoutError."""
        if not self.socket.poll(int(timeout_s * 1000)):
            raise TimeoutError(f"nothing came within {timeout_s} s")
        message = frames.unpack_from_daemon(self.socket.recv_multipart())
        if isinstance(message, (Ack, Welcome)) and message.session == self.session:
            self.acked = max(self.acked, message.acked)
        if isinstance(message, Report):
            self.reports.append(message)
        return message

    def expect(self, kind: type[M], when: Callable[[M], bool] = lambda _: True, timeout_s: float = DEADLINE_S) -> M:
        """The first message of a kind that satisfies `when`; others are passed over. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        passed: list[FromDaemon] = []
        while (left := deadline - time.monotonic()) > 0:
            try:
                message = self.receive(left)
            except TimeoutError:
                break
            if isinstance(message, kind) and when(message):
                return message
            passed.append(message)
        raise TimeoutError(f"no {kind.__name__} within {timeout_s} s; passed over {passed[-5:]}")

    def hello(self) -> Welcome:
        """Say hello and be welcomed; sending goes on from what the daemon has kept."""
        self.send_frames(frames.pack(self.hello_message))
        welcome = self.expect(Welcome)
        self.sent = welcome.acked
        return welcome

    def send(self, *records: AnyRecord, first: int | None = None, offered: int = 0) -> int:
        """Send records as one batch; the number of the last."""
        begin = self.sent + 1 if first is None else first
        last = begin + len(records) - 1
        self.send_frames(frames.batch(self.session, begin, last, encode_all(records, begin), offered))
        self.sent = max(self.sent, last)
        return last

    def wait_acked(self, number: int | None = None, timeout_s: float = DEADLINE_S) -> None:
        """Wait until record `number` (default: all sent) is acked."""
        wanted = self.sent if number is None else number
        if self.acked < wanted:
            self.expect(Ack, lambda ack: ack.acked >= wanted, timeout_s)

    def ask(self, kind: str, timeout_s: float = DEADLINE_S, **args: Any) -> dict[str, Any]:
        """Ask; the result. Raises RuntimeError with the daemon's error."""
        self._asked += 1
        number = self._asked
        self.send_frames(frames.pack(Ask(number, kind, args)))
        answer = self.expect(Answer, lambda answer: answer.id == number, timeout_s)
        if answer.error is not None:
            raise RuntimeError(answer.error)
        return answer.result

    def bye(self) -> None:
        """Say bye."""
        self.send_frames(frames.pack(Bye(self.session)))
