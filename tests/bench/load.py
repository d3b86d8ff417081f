"""Load for the daemon: rows of floats as a client encodes them, in prepared batches, and processes that send them.

`python -m tests.bench.load` is such a process: it prepares its batches, says "ready", and sends on a line of stdin.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import zmq

from client.protocol import frames, framing
from client.protocol.framing import Buffer
from client.protocol.messages import Ack, Hello, Refuse, RunSpec, Welcome
from client.protocol.records import End, Row

FLOATS = 10
BATCH_BYTES = 4 << 20
"""What a client ships at once at its fastest: a whole segment of its journal."""

DEADLINE_S = 120.0
VARIANTS = 512
"""Different rows that a load repeats: preparing one takes as long as receiving ten."""

_encode = msgspec.msgpack.Encoder().encode


def keys(count: int) -> list[str]:
    """Names of metrics."""
    return [f"train/metric_{number}" for number in range(count)]


def variants(count: int, floats: int = FLOATS, seed: int = 1) -> list[dict[str, float]]:
    """Rows of floats, all different."""
    draw = random.Random(seed).random
    names = keys(floats)
    return [{name: draw() for name in names} for _ in range(count)]


def batches(session: str, rows: int, floats: int = FLOATS, batch_bytes: int = BATCH_BYTES) -> Iterator[list[Buffer]]:
    """Rows 0 up to `rows` of a session as messages ready to be sent, and an End behind them."""
    data = variants(VARIANTS, floats)
    now_ns = time.time_ns()
    parts: list[bytes] = []
    size = first = 0
    for number in range(1, rows + 2):
        last = number == rows + 1
        record = End(now_ns, 0) if last else Row(number - 1, now_ns + number * 1000, data[number % VARIANTS])
        framed = framing.frame(_encode(record), number)
        parts.append(framed)
        size += len(framed)
        if size >= batch_bytes or last:
            yield frames.batch(session, first + 1, number, b"".join(parts), min(number, rows))
            parts, size, first = [], 0, number


@dataclass
class Peer:
    """One session on one connection. `on_way` holds (last record, bytes) of what is sent and not acked."""

    session: str
    socket: zmq.Socket[bytes]
    messages: Iterator[list[Buffer]]
    last: int
    acked: int = 0
    room: int = 0
    on_way: deque[tuple[int, int]] = field(default_factory=deque)
    next: list[Buffer] | None = None
    sent_bytes: int = 0

    def receive(self) -> None:
        """Take what has come."""
        while True:
            try:
                message = frames.unpack_from_daemon(self.socket.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            if isinstance(message, Welcome):
                self.room = message.window_bytes
            elif isinstance(message, Ack):
                self.acked = max(self.acked, message.acked)
                while self.on_way and self.on_way[0][0] <= self.acked:
                    self.room += self.on_way.popleft()[1]
            elif isinstance(message, Refuse):
                raise SystemExit(f"refused: {message.code} {message.message}")

    def send(self) -> None:
        """Send what the window allows."""
        while self.room > 0:
            message = self.next or next(self.messages, None)
            if message is None:
                return
            self.next = message
            try:
                self.socket.send_multipart(message, zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self.next = None
            size = len(message[1])
            self.sent_bytes += size
            self.room -= size
            self.on_way.append((msgspec.msgpack.decode(message[0])["last"], size))


def connect(context: zmq.Context[zmq.Socket[bytes]], endpoint: str, number: int, run: RunSpec, rows: int,
            floats: int, batch_bytes: int, *, lazy: bool) -> Peer:  # fmt: skip
    """A session with its batches, greeted; `lazy`: they are made when they are sent."""
    session = f"{number + 1:032x}"
    made = batches(session, rows, floats, batch_bytes)
    prepared = made if lazy else iter(list(made))
    socket = context.socket(zmq.DEALER)
    socket.set(zmq.LINGER, 0)
    socket.connect(endpoint)
    hello = Hello(session, run=run, pid=os.getpid(), host=os.uname().nodename, start_time_ns=time.time_ns())
    socket.send_multipart(frames.pack(hello))
    peer = Peer(session, socket, prepared, rows + 1)
    deadline = time.monotonic() + DEADLINE_S
    while not peer.room:
        if not socket.poll(1000) and time.monotonic() > deadline:
            raise SystemExit("no welcome")
        peer.receive()
    return peer


def main() -> None:
    """Prepare, wait for the word, send, and tell how long it took from the first message to the last ack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--first", type=int, default=0, help="number of the first session")
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--rows", type=int, default=100_000, help="of each session")
    parser.add_argument("--floats", type=int, default=FLOATS)
    parser.add_argument("--batch-bytes", type=int, default=BATCH_BYTES)
    parser.add_argument("--run", default="load")
    parser.add_argument("--mode", default="offline")
    parser.add_argument("--directory", default="")
    parser.add_argument("--lazy", action="store_true", help="prepare nothing: the rate is this process's, too")
    parser.add_argument("--deadline-s", type=float, default=DEADLINE_S)
    parser.add_argument("--runs", action="store_true", help="a run for each session")
    given = parser.parse_args()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    peers = []
    for number in range(given.first, given.first + given.sessions):
        name = f"{given.run}-{number}" if given.runs else given.run
        run = RunSpec(name, project="load", mode=given.mode, directory=given.directory)
        peers.append(connect(context, given.endpoint, number, run, given.rows, given.floats, given.batch_bytes,
                             lazy=given.lazy))  # fmt: skip
    print("ready", flush=True)
    sys.stdin.readline()
    poller = zmq.Poller()
    for peer in peers:
        poller.register(peer.socket, zmq.POLLIN)
    begun_s, cpu_s = time.monotonic(), time.process_time()
    while any(peer.acked < peer.last for peer in peers):
        for peer in peers:
            peer.receive()
            peer.send()
        poller.poll(100)
        if time.monotonic() - begun_s > given.deadline_s:
            raise SystemExit("not acked in time")
    ended_s, size = time.monotonic(), sum(peer.sent_bytes for peer in peers)
    print(json.dumps({"begun_s": begun_s, "ended_s": ended_s, "bytes": size, "cpu_s": time.process_time() - cpu_s}))
    for peer in peers:
        peer.socket.close(0)
    context.term()


if __name__ == "__main__":
    main()
