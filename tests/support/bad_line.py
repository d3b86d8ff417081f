"""A network line that delays and loses packets, between two network namespaces, without the kernel's netem.

    namespace a: device ta ── this process: delay, loss ── device tb: namespace b

Both ends are TUN devices whose packets a thread carries across. Every packet is late by the same time, so none
overtakes another; which ones are lost is a matter of a seeded generator.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import struct
import threading
import time
from collections import deque

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_PACKET_MAX_BYTES = 65536


def tun(name: str) -> int:
    """A TUN device in this process's namespace; its file descriptor. Raises OSError."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH14x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class BadLine:
    """Carries packets between two TUN devices until `close`. `lost` and `carried` count them."""

    def __init__(self, one: int, other: int, delay_s: float, loss: float) -> None:
        """`loss` is the share of packets that do not arrive, of either direction."""
        self._across = {one: other, other: one}
        self._delay_s, self._loss = delay_s, loss
        self._random = random.Random(1)
        self._waiting: deque[tuple[float, int, bytes]] = deque()
        self.carried = self.lost = 0
        self._stop, self._stopping = os.pipe()
        self._thread = threading.Thread(target=self._carry, name="bad-line")
        self._thread.start()

    def close(self) -> None:
        """End the line; its devices go with it."""
        os.write(self._stopping, b"x")
        self._thread.join()
        for descriptor in (*self._across, self._stop, self._stopping):
            os.close(descriptor)

    def _carry(self) -> None:
        while True:
            timeout_s = max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None
            ready, _, _ = select.select([*self._across, self._stop], [], [], timeout_s)
            if self._stop in ready:
                return
            for descriptor in ready:
                self._take(descriptor)
            while self._waiting and self._waiting[0][0] <= time.monotonic():
                _, descriptor, packet = self._waiting.popleft()
                self._send(descriptor, packet)

    def _take(self, descriptor: int) -> None:
        try:
            packet = os.read(descriptor, _PACKET_MAX_BYTES)
        except OSError:  # the device is down: its namespace is being removed
            return
        if self._random.random() < self._loss:
            self.lost += 1
        else:
            self._waiting.append((time.monotonic() + self._delay_s, self._across[descriptor], packet))

    def _send(self, descriptor: int, packet: bytes) -> None:
        try:
            os.write(descriptor, packet)
            self.carried += 1
        except OSError:  # as above
            self.lost += 1
