"""The daemon's only import of zmq: one ROUTER socket, used by the reception thread alone."""

from __future__ import annotations

import os
import resource
import struct
import sys
from collections.abc import Sequence

import zmq
from zmq.utils import z85

from client.protocol.framing import Buffer
from client.protocol.limits import BATCH_MAX_BYTES, HEADER_MAX_BYTES
from telemetryd.errors import AlreadyServingError, PlaceError
from telemetryd.inbox.peers import uid_in
from telemetryd.limits import (
    CROWDED_SHARE,
    DOOR_MAX_REQUESTS,
    HANDSHAKE_TIMEOUT_S,
    HEARTBEAT_INTERVAL_S,
    HEARTBEAT_TIMEOUT_S,
    MESSAGE_SLACK_BYTES,
    RECEIVE_QUEUE_MESSAGES,
    ROOMY_SHARE,
    SEND_QUEUE_MESSAGES,
)
from telemetryd.reception.door import answer
from telemetryd.reception.keys import Keyring

_BACKLOG = 1024
_MONITOR_EVENT = struct.Struct("=Hi")
"""An event's first frame: number and value (zmq_socket_monitor(3)). zmq.utils.monitor reads it, and loads asyncio."""
_ZAP = "inproc://zeromq.zap.01"
_ZAP_DOMAIN = b"telemetryd"
_FAILED = {
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): "it went away amid the handshake",
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): "it has another server's key, or none, or does not speak ZeroMQ",
}
"""Handshakes that fail without the door being asked. Monitor events tell no address."""


def make_pair() -> tuple[bytes, bytes]:
    """A new CURVE pair: public and secret key, Z85."""
    public, secret = zmq.curve_keypair()
    return public, secret


class RouterSocket:
    """Messages from and to many clients, each known by its connection's identity (bytes)."""

    def __init__(self, endpoint: str, wake_fd: int, keyring: Keyring | None = None) -> None:
        """Bind. The endpoint must have been claimed; `keyring`: let in those that it knows, and encrypt.

        Raises PlaceError or AlreadyServingError.
        """
        self._context = zmq.Context()
        self._monitor: zmq.Socket[bytes] | None = None
        self._door: zmq.Socket[bytes] | None = None
        self._keyring = keyring
        self._let_in: dict[bytes, str] = {}
        self._failures: list[str] = []
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
        if keyring is not None:
            self._door = self._context.socket(zmq.REP)
            self._door.set(zmq.LINGER, 0)
            self._door.bind(_ZAP)
            self._take_keys(keyring)
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
        self._is_ipc = endpoint.startswith("ipc:")
        self._bound = True
        self._wake_fd = wake_fd
        events = zmq.EVENT_ACCEPTED
        if keyring is not None:
            events |= zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        self._monitor = self._socket.get_monitor_socket(events)
        self._poller = zmq.Poller()
        self._poller.register(self._monitor, zmq.POLLIN)
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(wake_fd, zmq.POLLIN)
        if self._door is not None:
            self._poller.register(self._door, zmq.POLLIN)

    def _take_keys(self, keyring: Keyring) -> None:
        """Use these keys for what is bound from now on."""
        public, secret = keyring.pair
        self._socket.set(zmq.CURVE_SERVER, 1)
        self._socket.set(zmq.ZAP_DOMAIN, _ZAP_DOMAIN)
        self._socket.set(zmq.CURVE_PUBLICKEY, public)
        self._socket.set(zmq.CURVE_SECRETKEY, secret)
        self._let_in = {z85.decode(key): name for key, name in keyring.clients.items()}

    def mind_the_door(self, now_s: float) -> list[str]:
        """Answer those who ask to come in, and heed changed keys. Call it every turn; who was refused, and why."""
        if self._door is None or self._keyring is None:
            return []
        clients = self._keyring.clients
        if self._keyring.renewed(now_s):  # whoever is connected must prove itself again
            self._take_keys(self._keyring)
            if self._bound:
                self._socket.unbind(self._endpoint)
                self._bound = False
        elif self._keyring.clients is not clients:
            self._take_keys(self._keyring)
        refused, self._failures = self._failures, []
        for _ in range(DOOR_MAX_REQUESTS):
            try:
                request = self._door.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            said = answer(request, self._let_in)
            self._door.send_multipart(said.frames if said is not None else [b""])
            if said is not None and said.refused is not None:
                refused.append(f"{said.address}: {said.refused}")
        return refused

    def wait(self, timeout_s: float) -> None:
        """Return when a message is there, the wake descriptor is readable, or the time is over."""
        self._poller.poll(max(0, int(timeout_s * 1000 + 0.999)))

    def receive(self) -> tuple[bytes, list[bytes], int | None] | None:
        """(connection, frames, its user) of the next message, None when there is none now.

        The user is who connected, as the kernel told libzmq then; None where that is not known (peers.py).
        """
        try:
            first = self._socket.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        return first.bytes, self._socket.recv_multipart(zmq.NOBLOCK), self._uid_of(first)

    def _uid_of(self, frame: zmq.Frame) -> int | None:
        if not self._is_ipc:
            return None
        try:
            return uid_in(str(frame.get("Peer-Address")))
        except zmq.ZMQError:  # the C library named no address for the socket
            return None

    def mind_the_crowd(self) -> bool:
        """Drop every connection when descriptors run short, and listen again once they are free. Call it every turn.

        libzmq ends the whole process when it accepts on an ipc socket and finds no descriptor, and knows no other way
        to stop accepting. Clients come back by themselves and lose nothing. Returns whether this call dropped them.
        """
        assert self._monitor is not None
        while self._monitor.poll(0):
            number, _ = _MONITOR_EVENT.unpack(self._monitor.recv_multipart(zmq.NOBLOCK)[0])
            why = _FAILED.get(number)
            if why is not None and len(self._failures) < DOOR_MAX_REQUESTS:
                self._failures.append(f"a peer: {why}")
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        lowest_free = self._lowest_free_descriptor()
        if self._bound and lowest_free >= limit * CROWDED_SHARE:
            self._socket.unbind(self._endpoint)
            self._bound = False
            return True
        if not self._bound and lowest_free < limit * ROOMY_SHARE:
            try:
                self._socket.bind(self._endpoint)
            except zmq.ZMQError as error:
                if error.errno != zmq.EADDRINUSE:  # the old listener is only just closing: at the next turn
                    raise
            else:
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
        if self._door is not None:
            self._door.close(0)
        self._socket.close(int(linger_s * 1000))
        self._context.term()
