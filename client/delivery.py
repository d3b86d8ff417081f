"""When to say hello, what to send, what to send again: the delivery window as a pure state machine.

No clock, no socket, no thread: time is passed in (seconds of any steadily rising clock), and the caller does what the
answers say. Sequence numbers are those of the session's records.

    ABSENT ──greeted──► GREETING ──welcome──► OPEN ──refused full/stopping──► PAUSED ──pause over──► ABSENT
       ▲                   │                    │
       └───── overdue / unknown session ────────┘            any ──refused for good──► REFUSED

Invariants
* `acked` never falls. What is at or below it is in the daemon's inbox.
* Records are sent in order; on one connection none is skipped, and at most the window is on the way (or one batch).
* Whatever was sent and not acked is sent again after the connection is greeted anew.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from client.limits import ACK_TIMEOUT_MAX_S, ACK_TIMEOUT_S, GREET_PERIOD_S, REFUSED_PAUSE_S, WINDOW_BYTES


class Phase(Enum):
    """Where the conversation with the daemon stands."""

    ABSENT = "absent"
    GREETING = "greeting"
    OPEN = "open"
    PAUSED = "paused"
    REFUSED = "refused"


class Delivery:
    """The sender's side of one session's conversation."""

    def __init__(self) -> None:
        self.phase = Phase.ABSENT
        self.acked = 0
        self.sent = 0
        self.refusal: str | None = None
        self._window_bytes = WINDOW_BYTES
        self._on_the_way: deque[tuple[int, int]] = deque()
        self._bytes_on_the_way = 0
        self._ack_timeout_s = ACK_TIMEOUT_S
        self._deadline_s = 0.0
        self._resume_s = 0.0

    def should_greet(self, now_s: float) -> bool:
        """Whether to try a Hello now; tell the outcome with `greeted`."""
        return self.phase in (Phase.ABSENT, Phase.PAUSED) and now_s >= self._resume_s

    def greeted(self, now_s: float, *, handed_over: bool) -> None:
        """A Hello was handed to the connection, or could not be because nobody is there."""
        if handed_over:
            self.phase = Phase.GREETING
            self._deadline_s = now_s + self._ack_timeout_s
        else:
            self.phase = Phase.ABSENT
            self._resume_s = now_s + GREET_PERIOD_S

    def welcome(self, acked: int, window_bytes: int, now_s: float) -> None:
        """The daemon takes the session and has kept everything up to `acked`."""
        if self.phase is Phase.REFUSED:
            return
        self.phase = Phase.OPEN
        self.acked = max(self.acked, acked)
        self._window_bytes = min(window_bytes or WINDOW_BYTES, WINDOW_BYTES)
        self._ack_timeout_s = ACK_TIMEOUT_S
        self._send_again(now_s)

    def ack(self, acked: int, now_s: float) -> None:
        """Everything up to `acked` is kept. Acks of what was never sent are ignored."""
        if acked > self.sent or acked <= self.acked:
            return
        self.acked = acked
        self._ack_timeout_s = ACK_TIMEOUT_S
        self._deadline_s = now_s + self._ack_timeout_s
        while self._on_the_way and self._on_the_way[0][0] <= acked:
            self._bytes_on_the_way -= self._on_the_way.popleft()[1]

    def refused(self, code: str, acked: int, message: str, now_s: float) -> None:
        """The daemon refused what was sent; `code` is one of messages.Refuse."""
        if code == "gap":
            if self.phase is Phase.OPEN:
                self.acked = max(self.acked, min(acked, self.sent))
                self._send_again(now_s)
        elif code == "unknown_session":
            if self.phase is not Phase.REFUSED:
                self.phase, self._resume_s = Phase.ABSENT, now_s
        elif code == "version":
            self.phase, self.refusal = Phase.REFUSED, message
        else:
            self.phase, self.refusal = Phase.PAUSED, message
            self._resume_s = now_s + REFUSED_PAUSE_S

    def overdue(self, now_s: float) -> bool:
        """Whether the connection is to be made anew, since an answer is long due; tell it with `reopened`."""
        waiting = self.phase is Phase.GREETING or (self.phase is Phase.OPEN and bool(self._on_the_way))
        return waiting and now_s >= self._deadline_s

    def reopened(self, now_s: float) -> None:
        """The connection was made anew."""
        self._ack_timeout_s = min(2 * self._ack_timeout_s, ACK_TIMEOUT_MAX_S)
        if self.phase is not Phase.REFUSED:
            self.phase, self._resume_s = Phase.ABSENT, now_s

    def room_bytes(self) -> int:
        """How much may be sent now; a batch larger than the room may go when nothing else is on the way."""
        if self.phase is not Phase.OPEN:
            return 0
        return max(0, self._window_bytes - self._bytes_on_the_way)

    def has_much_room(self) -> bool:
        """Whether half of the window is free, so that acks may wait."""
        return 2 * self.room_bytes() > self._window_bytes

    def sending(self, last: int, size_bytes: int, now_s: float) -> None:
        """Records `sent` + 1 to `last` were handed to the connection."""
        if not self._on_the_way:
            self._deadline_s = now_s + self._ack_timeout_s
        self.sent = last
        self._on_the_way.append((last, size_bytes))
        self._bytes_on_the_way += size_bytes

    def _send_again(self, now_s: float) -> None:
        self.refusal = None
        self.sent = self.acked
        self._on_the_way.clear()
        self._bytes_on_the_way = 0
        self._deadline_s = now_s + self._ack_timeout_s
