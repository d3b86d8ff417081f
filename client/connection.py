"""The client's only import of zmq: one DEALER socket, owned by the sender's thread, and one-off questions.

A `Connection` is used by the thread that made it, and by no other.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from typing import Any

import zmq

from client import guard, keys, places
from client.errors import NoAnswerError
from client.keys import ClientKey, KeyFileError
from client.limits import (
    HEARTBEAT_INTERVAL_MS,
    HEARTBEAT_TIMEOUT_MS,
    RECONNECT_MAX_MS,
    RECONNECT_MIN_MS,
    REFUSED_PAUSE_S,
    SEND_QUEUE_MESSAGES,
)
from client.protocol import frames
from client.protocol.errors import ProtocolError
from client.protocol.framing import Buffer
from client.protocol.limits import HEADER_MAX_BYTES
from client.protocol.messages import Answer, Ask, FromDaemon

_FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH

_MONITOR_EVENT = struct.Struct("=Hi")
"""An event's first frame: number and value (zmq_socket_monitor(3)). zmq.utils.monitor reads it, and loads asyncio."""


class Connection:
    """A DEALER socket to the daemon that reconnects by itself and never blocks.

    Over TCP it proves itself with a key where there is one (keys.py). libzmq does not try again once a handshake
    failed: `mind_the_handshake` does, with the key file read anew and each of the daemon's keys in it in turn.
    """

    def __init__(self, endpoint: str) -> None:
        """Raises zmq.ZMQError where the endpoint is none."""
        self._endpoint = endpoint
        self._monitor: zmq.Socket[bytes] | None = None
        self._key: ClientKey | None = None
        self._server = 0
        self._retry_s = 0.0
        self._tried = 0
        self.refusal: str | None = None
        """Why the daemon did not take the connection at the last handshake."""
        self._read_key()
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
            if self._endpoint.startswith("tcp://"):
                self._prepare_tcp(socket)
            socket.connect(self._endpoint)
        except BaseException:
            self._drop_monitor()
            socket.close()
            raise
        return socket

    def _prepare_tcp(self, socket: zmq.Socket[bytes]) -> None:
        if self._endpoint.startswith("tcp://["):
            socket.set(zmq.IPV6, 1)
        socket.set(zmq.HEARTBEAT_IVL, HEARTBEAT_INTERVAL_MS)
        socket.set(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        if self._key is not None:
            socket.set(zmq.CURVE_SERVERKEY, self._key.servers[self._server % len(self._key.servers)])
            socket.set(zmq.CURVE_PUBLICKEY, self._key.public)
            socket.set(zmq.CURVE_SECRETKEY, self._key.secret)
        self._monitor = socket.get_monitor_socket(_FAILED | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self._monitor.set(zmq.LINGER, 0)

    def _read_key(self) -> None:
        """The key file as it is now; where it cannot be read, the key read before goes on."""
        try:
            self._key = keys.find(self._endpoint)
        except KeyFileError as error:
            guard.swallow("connection.key", error)

    def mind_the_handshake(self, now_s: float) -> bool:
        """Heed failed handshakes; True when the connection was made anew by that."""
        if self._monitor is None:
            return False
        while _has_come(self._monitor):
            number, _ = _MONITOR_EVENT.unpack(self._monitor.recv_multipart(zmq.NOBLOCK)[0])
            if number == int(zmq.EVENT_HANDSHAKE_SUCCEEDED):
                self.refusal, self._tried, self._retry_s = None, 0, 0.0
                continue
            if not self._retry_s:
                self._read_key()
            if self._tried + 1 >= len(self._key.servers if self._key is not None else ()):
                self.refusal = self._reason(number)  # none of the daemon's keys that we have is right
                self._retry_s = self._retry_s or now_s + REFUSED_PAUSE_S
            else:
                self._retry_s = now_s
        if not self._retry_s or now_s < self._retry_s:
            return False
        self._retry_s = 0.0
        self._server += 1
        self._tried += 1
        self.reopen()
        return True

    def _reason(self, event: int) -> str:
        where = keys.path(self._endpoint)
        if event == int(zmq.EVENT_HANDSHAKE_FAILED_AUTH):
            return (
                f"the daemon at {self._endpoint} does not know the key in {where}: have it made with"
                " `telemetryd keys add NAME` there, and copy its file"
            )
        if self._key is None:
            return (
                f"the daemon at {self._endpoint} wants a key: name a file that `telemetryd keys` made with"
                " TELEMETRYD_KEY_FILE"
            )
        return (
            f"the handshake with the daemon at {self._endpoint} failed: it has another key than the one in {where}, or"
            " none; copy the file anew"
        )

    def _drop_monitor(self) -> None:
        if self._monitor is not None:
            self._monitor.close(0)
            self._monitor = None

    def _close_socket(self, linger_ms: int | None = None) -> None:
        if self._monitor is not None:
            self._socket.disable_monitor()
            self._drop_monitor()
        self._socket.close(linger_ms)

    def reopen(self) -> None:
        """Drop the socket with all that it holds and make a new one."""
        self._close_socket()
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
        if not _has_come(self._socket):
            return None
        try:
            return frames.unpack_from_daemon(self._socket.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            return None

    def wait(self, timeout_s: float) -> bool:
        """Wait until something has come."""
        return bool(self._socket.poll(max(0, int(timeout_s * 1000))))

    def close(self, linger_s: float = 0.0) -> None:
        """Close, giving what was handed over at most so long to get out."""
        self._close_socket(int(linger_s * 1000))
        self._context.term()


def _has_come(socket: zmq.Socket[bytes]) -> bool:
    """Whether there is a message. Unlike `poll` and `recv` the question keeps the interpreter: training would take it
    at once, for five milliseconds."""
    return bool(int(socket.get(zmq.EVENTS)) & zmq.POLLIN)


def ask(endpoint: str, kind: str, args: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """Put one question to the daemon at `endpoint` and wait for its answer.

    Raises NoAnswerError when none comes in time, or the daemon says that it has none.
    """
    problem = places.endpoint_problem(endpoint)
    if problem:
        raise NoAnswerError(problem)
    deadline_s = time.monotonic() + timeout_s
    connection = Connection(endpoint)

    def heed_refusal() -> None:
        connection.mind_the_handshake(time.monotonic())
        if connection.refusal is not None:
            raise NoAnswerError(connection.refusal)

    try:
        question = frames.pack(Ask(1, kind, args))
        while not connection.send(question):
            if time.monotonic() >= deadline_s:
                raise NoAnswerError(f"no daemon answers at {endpoint}; start one with `telemetryd serve`")
            heed_refusal()
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
