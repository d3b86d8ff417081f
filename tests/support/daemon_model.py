"""A daemon's reception reduced to its promise, on a thread: keeps records in memory, can be told to misbehave."""

from __future__ import annotations

import threading
from collections.abc import Callable

import zmq

from client.protocol import frames, records
from client.protocol.framing import bodies
from client.protocol.messages import Ack, Answer, Ask, Batch, Bye, Hello, Message, Refuse, Welcome


class DaemonModel:
    """Binds `endpoint` between `start` and `stop`; what it kept outlives a restart, as an inbox does."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.kept: dict[str, list[records.AnyRecord]] = {}
        self.said_bye: list[str] = []
        self.batches = 0
        self.drop_ack: Callable[[int], bool] = lambda _: False
        self.answer_batch: Callable[[Batch], Message | None] = lambda _: None
        self._greeted: set[bytes] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None

    def start(self) -> DaemonModel:
        bound = threading.Event()
        self._stop.clear()
        self._greeted.clear()
        self._thread = threading.Thread(target=self._run, args=(bound,), name="daemon-model")
        self._thread.start()
        assert bound.wait(5)
        return self

    def stop(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()
            self._thread = None

    def rows(self, session: str) -> list[records.Row]:
        return [record for record in self.kept.get(session, []) if isinstance(record, records.Row)]

    def _run(self, bound: threading.Event) -> None:
        context = zmq.Context()
        socket = context.socket(zmq.ROUTER)
        socket.set(zmq.LINGER, 0)
        socket.bind(self.endpoint)
        bound.set()
        while not self._stop.is_set():
            if not socket.poll(10):
                continue
            identity, *rest = socket.recv_multipart()
            message, payload = frames.unpack_from_client(rest)
            answer = self._answer(identity, message, payload)
            if answer is not None:
                socket.send_multipart([identity, *frames.pack(answer)])
        socket.close()
        context.term()

    def _answer(self, identity: bytes, message: Message, payload: object) -> Message | None:
        if isinstance(message, Hello):
            self._greeted.add(identity)
            kept = self.kept.setdefault(message.session, [])
            return Welcome(message.session, len(kept))
        if isinstance(message, Batch):
            return self._take(identity, message, payload)
        if isinstance(message, Ask):
            return Answer(message.id, {"kind": message.kind})
        if isinstance(message, Bye):
            self.said_bye.append(message.session)
        return None

    def _take(self, identity: bytes, batch: Batch, payload: object) -> Message | None:
        self.batches += 1
        kept = self.kept.get(batch.session, [])
        if identity not in self._greeted:
            return Refuse("unknown_session", "say hello", batch.session)
        if batch.first > len(kept) + 1:
            return Refuse("gap", "records are missing", batch.session, len(kept))
        if (instead := self.answer_batch(batch)) is not None:
            return instead
        for number, body in bodies(payload, batch.first):  # type: ignore[arg-type]
            assert body is not None, f"record {number} is corrupt"
            if number > len(kept):
                kept.append(records.decode(body))
        assert len(kept) >= batch.last
        return None if self.drop_ack(self.batches) else Ack(batch.session, len(kept))
