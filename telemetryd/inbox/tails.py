"""The last lines that each session printed, in memory: what a post-mortem shows when the output itself is delivered and
gone from the inbox. Shared by the threads that take records in; after the daemon's restart it begins empty.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence

from client.protocol.records import Output
from telemetryd.limits import TAIL_MAX_CHARS, TAIL_SESSIONS_MAX


class Tails:
    """By session, the oldest sessions go first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tails: OrderedDict[str, tuple[deque[tuple[int, str]], int]] = OrderedDict()

    def add(self, session: str, output: Sequence[Output]) -> None:
        """The session printed something."""
        if not output:
            return
        with self._lock:
            pieces, held = self._tails.pop(session, (deque(), 0))
            for one in output:
                text = one.text[-TAIL_MAX_CHARS:]
                pieces.append((one.time_ns, text))
                held += len(text)
            while held > TAIL_MAX_CHARS and len(pieces) > 1:
                held -= len(pieces.popleft()[1])
            self._tails[session] = pieces, held
            while len(self._tails) > TAIL_SESSIONS_MAX:
                self._tails.popitem(last=False)

    def text(self, sessions: Iterable[str]) -> str:
        """What these sessions printed last, together, in the order of their clocks."""
        with self._lock:
            pieces = [piece for session in sessions for piece in self._tails.get(session, (deque(), 0))[0]]
        pieces.sort(key=lambda piece: piece[0])
        return "".join(text for _, text in pieces)[-TAIL_MAX_CHARS:]
