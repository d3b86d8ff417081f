"""The daemon's only import of zmq: one ROUTER socket, used by the reception thread alone."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Sequence

import zmq

from client.protocol.framing import Buffer
from client.protocol.limits import BATCH_MAX_BYTES, HEADER_MAX_BYTES
from telemetryd.errors import AlreadyServingError, PlaceError
from telemetryd.limits import (
    CROWDED_SHARE,
    HANDSHAKE_TIMEOUT_S,
    HEARTBEAT_INTERVAL_S,
    HEARTBEAT_TIMEOUT_S,
    MESSAGE_SLACK_BYTES,
    RECEIVE_QUEUE_MESSAGES,
    ROOMY_SHARE,
    SEND_QUEUE_MESSAGES,
)

_BACKLOG = 1024


class RouterSocket:
    """Messages from and to many clients, each known by its connection's identity (bytes)."""

    def __init__(self, endpoint: str, wake_fd: int) -> None:
        """Bind. The endpoint must have been claimed. Raises PlaceError or AlreadyServingError."""
        self._context = zmq.Context()
        self._monitor: zmq.Socket[bytes] | None = None
        self._socket = self._context.socket(zmq.ROUTER)
        set_option = self._socket.set
        set_option(zmq.LINGER, 0)
        set_option(zmq.ROUTER_MANDATORY, 1)
        set_option(zmq.MAXMSGSIZE, max(BATCH_MAX_BYTES, HEADER_MAX_BYTES) + MESSAGE_SLACK_BYTES)
        set_option(zmq.RCVHWM, RECEIVE_QUEUE_MESSAGES)
        set_option(zmq.SNDHWM, SEND_QUEUE_MESSAGES)
        set_option(zmq.BACKLOG, _BACKLOG)
        set_option(zmq.HANDSHAKE_IVL, int(HANDSHAKE_TIMEOUT_S * 1000))
        set_option(zmq.HEARTBEAT_IVL, int(HEARTBEAT_INTERVAL_S * 1000))
        set_option(zmq.HEARTBEAT_TIMEOUT, int(HEARTBEAT_TIMEOUT_S * 1000))
        if endpoint.startswith("tcp://["):
            set_option(zmq.IPV6, 1)
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self.close()
            if error.errno == zmq.EADDRINUSE:
                raise AlreadyServingError(
                    f"another program serves on {endpoint}: use it, stop it, or choose another --endpoint"
                ) from error
            raise PlaceError(f"endpoint {endpoint!r} cannot be bound ({error}): choose another --endpoint") from error
        self._endpoint = endpoint
        self._bound = True
        self._wake_fd = wake_fd
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_ACCEPTED)
        self._poller = zmq.Poller()
        self._poller.register(self._monitor, zmq.POLLIN)
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(wake_fd, zmq.POLLIN)

    def wait(self, timeout_s: float) -> None:
        """Return when a message is there, the wake descriptor is readable, or the time is over."""
        self._poller.poll(max(0, int(timeout_s * 1000 + 0.999)))

    def receive(self) -> tuple[bytes, list[bytes]] | None:
        """(connection, frames) of the next message, None when there is none now."""
        try:
            connection, *frames = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return connection, frames

    def mind_the_crowd(self) -> bool:
        """Drop every connection when descriptors run short, and listen again once they are free. Call it every turn.

        libzmq ends the whole process when it accepts on an ipc socket and finds no descriptor, and knows no other way
        to stop accepting. Clients come back by themselves and lose nothing. Returns whether this call dropped them.
        """
        assert self._monitor is not None
        while self._monitor.poll(0):
            self._monitor.recv_multipart(zmq.NOBLOCK)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        lowest_free = self._lowest_free_descriptor()
        if self._bound and lowest_free >= limit * CROWDED_SHARE:
            self._socket.unbind(self._endpoint)
            self._bound = False
            return True
        if not self._bound and lowest_free < limit * ROOMY_SHARE:
            self._socket.bind(self._endpoint)
            self._bound = True
        return False

    def _lowest_free_descriptor(self) -> int:
        try:
            number = os.dup(self._wake_fd)
        except OSError:  # none is left
            return sys.maxsize
        os.close(number)
        return number

    def send(self, connection: bytes, frames: Sequence[Buffer]) -> bool:
        """Hand a message over; False when the connection is gone or its queue is full. Never blocks."""
        try:
            self._socket.send_multipart([connection, *frames], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True

    def reachable(self, connection: bytes, frames: Sequence[Buffer]) -> bool:
        """Send, and tell whether the connection is still there (a full queue is a living one)."""
        try:
            self._socket.send_multipart([connection, *frames], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            if error.errno != zmq.EAGAIN:
                raise
        return True

    def close(self, linger_s: float = 0.0) -> None:
        """Close, giving replies so long to leave; an ipc socket file goes with it."""
        if self._monitor is not None:
            self._socket.disable_monitor()
            self._monitor.close(0)
        self._socket.close(int(linger_s * 1000))
        self._context.term()
