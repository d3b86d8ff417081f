"""The client's only import of zmq: one DEALER socket, owned by the sender's thread, and one-off questions.

A `Connection` is used by the thread that made it, and by no other.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import zmq

from client import places
from client.errors import NoAnswerError
from client.limits import RECONNECT_MAX_MS, RECONNECT_MIN_MS, SEND_QUEUE_MESSAGES
from client.protocol import frames
from client.protocol.errors import ProtocolError
from client.protocol.framing import Buffer
from client.protocol.limits import HEADER_MAX_BYTES
from client.protocol.messages import Answer, Ask, FromDaemon


class Connection:
    """A DEALER socket to the daemon that reconnects by itself and never blocks."""

    def __init__(self, endpoint: str) -> None:
        """Raises zmq.ZMQError where the endpoint is none."""
        self._endpoint = endpoint
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._socket = self._open()
        except BaseException:
            self._context.term()
            raise

    def _open(self) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.DEALER)
        socket.set(zmq.LINGER, 0)
        # IMMEDIATE: nothing is queued for a daemon that is not there, so an absent daemon shows at once.
        socket.set(zmq.IMMEDIATE, 1)
        socket.set(zmq.SNDHWM, SEND_QUEUE_MESSAGES)
        socket.set(zmq.RECONNECT_IVL, RECONNECT_MIN_MS)
        socket.set(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        socket.set(zmq.MAXMSGSIZE, HEADER_MAX_BYTES)
        try:
            socket.connect(self._endpoint)
        except BaseException:
            socket.close()
            raise
        return socket

    def reopen(self) -> None:
        """Drop the socket with all that it holds and make a new one."""
        self._socket.close()
        self._socket = self._open()

    def send(self, message: Sequence[Buffer]) -> bool:
        """Hand a message over; False when nobody is connected or the queue is full."""
        try:
            self._socket.send_multipart(message, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def receive(self) -> FromDaemon | None:
        """The next message that has come, if any. Raises ProtocolError on one that is none."""
        try:
            return frames.unpack_from_daemon(self._socket.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            return None

    def wait(self, timeout_s: float) -> bool:
        """Wait until something has come."""
        return bool(self._socket.poll(max(0, int(timeout_s * 1000))))

    def close(self, linger_s: float = 0.0) -> None:
        """Close, giving what was handed over at most so long to get out."""
        self._socket.close(int(linger_s * 1000))
        self._context.term()


def ask(endpoint: str, kind: str, args: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """Put one question to the daemon at `endpoint` and wait for its answer.

    Raises NoAnswerError when none comes in time, or the daemon says that it has none.
    """
    problem = places.endpoint_problem(endpoint)
    if problem:
        raise NoAnswerError(problem)
    deadline_s = time.monotonic() + timeout_s
    connection = Connection(endpoint)
    try:
        question = frames.pack(Ask(1, kind, args))
        while not connection.send(question):
            if time.monotonic() >= deadline_s:
                raise NoAnswerError(f"no daemon answers at {endpoint}; start one with `telemetryd serve`")
            time.sleep(0.005)
        while (left_s := deadline_s - time.monotonic()) > 0:
            if not connection.wait(left_s):
                break
            try:
                answer = connection.receive()
            except ProtocolError as error:
                raise NoAnswerError(f"what answers at {endpoint} is no daemon of this protocol: {error}") from error
            if isinstance(answer, Answer):
                if answer.error is not None:
                    raise NoAnswerError(answer.error)
                return answer.result
        raise NoAnswerError(f"the daemon at {endpoint} did not answer `{kind}` within {timeout_s:g} s")
    finally:
        connection.close()
