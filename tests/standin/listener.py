"""A TCP port that can be taken down and brought up again, with a thread per connection.

Invariants: the port stays ours while down (a second socket is bound to it, not listening: connections are refused, and
nobody else can take it); closing ends every connection at once; no thread outlives close() but by a stuck handler.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable

from . import limits

Handle = Callable[[socket.socket, tuple[str, int]], None]


def reset(connection: socket.socket) -> None:
    """End a connection the hard way: the peer sees a reset, no end of file."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class Listener:
    """Accepts on host:port (0: any free one, kept for ever after) and calls `handle` in a thread per connection.

    With `tls` connections are TLS, and those whose handshake fails end.
    """

    def __init__(self, host: str, port: int, handle: Handle, tls: ssl.SSLContext | None = None):
        self._handle = handle
        self._tls = tls
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._listening: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._holder = self._bound(host, port)
        self.host, self.port = host, self._holder.getsockname()[1]

    @staticmethod
    def _bound(host: str, port: int) -> socket.socket:
        held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind((host, port))
        except OSError:
            held.close()
            raise
        return held

    def up(self) -> None:
        """Listen. Does nothing when it already does."""
        if self._listening is None:
            listening = self._bound(self.host, self.port)
            listening.listen(limits.BACKLOG)
            self._listening = listening
            self._acceptor = threading.Thread(
                target=self._accept, args=(listening,), name=f"standin:{self.port}", daemon=True
            )
            self._acceptor.start()

    def down(self) -> None:
        """Refuse connections and cut those there are."""
        listening, self._listening = self._listening, None
        if listening is not None:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)  # wakes accept()
            assert self._acceptor is not None
            self._acceptor.join(limits.STOP_TIMEOUT_S)
            listening.close()
        self.cut()

    def cut(self) -> None:
        """Cut all connections."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            reset(connection)

    def close(self) -> None:
        """Down for good; waits for the connections' threads."""
        self.down()
        self._holder.close()
        deadline = time.monotonic() + limits.STOP_TIMEOUT_S
        with self._lock:
            threads = [thread for thread in self._connections.values() if thread is not threading.current_thread()]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def connections(self) -> int:
        """How many connections are open."""
        with self._lock:
            return len(self._connections)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, address = listening.accept()
            except OSError:
                if self._listening is not listening:
                    return
                time.sleep(0.05)  # out of descriptors, or a peer gone already: the port lives on
                continue
            thread = threading.Thread(
                target=self._serve, args=(connection, address), name="standin-connection", daemon=True
            )
            with self._lock:
                self._connections[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket, address: tuple[str, int]) -> None:
        try:
            if self._tls is not None:
                connection = self._secured(connection, self._tls)
            self._handle(connection, address)
        except OSError:
            pass  # the peer is gone, which is its right, or does not trust us
        finally:
            with self._lock:
                del self._connections[connection]
            connection.close()

    def _secured(self, connection: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
        """The connection as TLS, before its handshake, which comes with the first read; it takes the other's place."""
        secured = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._connections[secured] = self._connections.pop(connection)
        return secured
