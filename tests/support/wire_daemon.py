"""A daemon's wire side for tests: a real ROUTER that speaks client.protocol, keeps all it is sent, and answers
questions as it is told. What a test needs of a real daemon beyond that, it must ask of a real daemon.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import zmq

from client.protocol import frames, framing, records
from client.protocol.messages import Ack, Answer, Ask, Batch, Bye, Hello, Welcome
from tests.support.processes import wait_until

POLL_MS = 10

Reply = dict[str, Any] | None
"""None: no answer, as from a daemon that is stuck."""


class WireDaemon:
    """Use it in a with block. `hellos`, `asks` and `records` hold what came; `replies` says what to answer to what."""

    def __init__(self, endpoint: str, *, state_dir: Path | None = None, spool_dir: Path | None = None) -> None:
        self.endpoint = endpoint
        self.hellos: dict[str, Hello] = {}
        self.asks: list[Ask] = []
        self.byes: list[str] = []
        self.records: dict[str, list[records.AnyRecord]] = {}
        self.acked: dict[str, int] = {}
        self.mute = False
        self.heard = 0
        ping = {"pid": 1, "endpoint": endpoint, "state_dir": str(state_dir or ""), "spool_dir": str(spool_dir or "")}
        self.replies: dict[str, Callable[[dict[str, Any]], Reply]] = {
            "ping": lambda args: ping,
            "launch": lambda args: {"runs": [], "settled": True},
            "status": lambda args: {"offered": 0, "delivered": 0, "dropped": {}, "pending": 0, "runs": []},
            "retire": lambda args: {},
        }
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="wire-daemon", daemon=True)
        self._bound = threading.Event()

    def __enter__(self) -> WireDaemon:
        if self.endpoint.startswith("ipc:///"):
            Path(self.endpoint.removeprefix("ipc://")).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._thread.start()
        assert self._bound.wait(10), "the daemon did not bind"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it and free the endpoint."""
        self._stop.set()
        self._thread.join()

    def kinds(self) -> list[str]:
        """The kinds of the questions that came, in order."""
        return [ask.kind for ask in self.asks]

    def consoles(self) -> list[Hello]:
        """The launchers that said hello."""
        return [hello for hello in self.hellos.values() if hello.role == "console"]

    def of_console(self) -> list[records.AnyRecord]:
        """Every record of the only launcher."""
        (hello,) = self.consoles()
        return self.records.get(hello.session, [])

    def text(self, stream: str) -> str:
        """What the launcher recorded of a stream."""
        return "".join(r.text for r in self.of_console() if isinstance(r, records.Output) and r.stream == stream)

    def end(self, deadline_s: float = 10.0) -> records.End:
        """The launcher's End, once it has come."""
        wait_until(lambda: any(isinstance(r, records.End) for r in self.of_console()), deadline_s, "the console's End")
        return next(r for r in self.of_console() if isinstance(r, records.End))

    def _serve(self) -> None:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
            socket.linger = 0
            socket.bind(self.endpoint)
            self._bound.set()
            while not self._stop.is_set():
                while socket.poll(POLL_MS):
                    identity, *message = socket.recv_multipart()
                    self.heard += 1
                    for answer in [] if self.mute else self._take(message):
                        socket.send_multipart([identity, *frames.pack(answer)])

    def _take(self, message: list[bytes]) -> list[Any]:
        head, payload = frames.unpack_from_client(message)
        if isinstance(head, Hello):
            self.hellos[head.session] = head
            return [Welcome(head.session, self.acked.get(head.session, 0), window_bytes=16 << 20)]
        if isinstance(head, Batch):
            assert payload is not None
            acked = self.acked.get(head.session, 0)
            for number, body in framing.bodies(payload, head.first):
                assert body is not None, "a record's checksum does not hold"
                if number > acked:
                    self.records.setdefault(head.session, []).append(records.decode(body))
            self.acked[head.session] = max(acked, head.last)
            return [Ack(head.session, self.acked[head.session])]
        if isinstance(head, Ask):
            self.asks.append(head)
            reply = self.replies.get(head.kind, lambda args: {})(head.args)
            return [] if reply is None else [Answer(head.id, reply)]
        assert isinstance(head, Bye)
        self.byes.append(head.session)
        return []
