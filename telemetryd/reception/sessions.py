"""Which connection speaks for which session: a pure state machine. Times are seconds of any steadily rising clock.

    (unknown) ──hello, stored──► LIVE ──bye / connection gone──► (unknown)
                                  │ ▲
             hello of the same    └─┘ on another connection, once the older one is silent or gone
             process

Invariants
* A session has at most one connection; a connection may speak for several sessions.
* Nothing is remembered of a connection before its first accepted Hello: silent and hostile peers cost no memory here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from telemetryd.limits import TAKEOVER_SILENCE_S


@dataclass
class Live:
    """A session that is connected."""

    session: str
    connection: bytes
    run_id: int | None
    acked: int
    heard_s: float


class Sessions:
    """The sessions that are connected now."""

    def __init__(self) -> None:
        self._live: dict[str, Live] = {}
        self._by_connection: dict[bytes, set[str]] = {}

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Live]:
        return iter(list(self._live.values()))

    def get(self, session: str) -> Live | None:
        """The session, when it is connected."""
        return self._live.get(session)

    def must_wait(self, session: str, connection: bytes, now_s: float) -> bool:
        """Whether a Hello from `connection` comes while another connection speaks for the session."""
        live = self._live.get(session)
        return live is not None and live.connection != connection and now_s - live.heard_s < TAKEOVER_SILENCE_S

    def welcome(self, session: str, connection: bytes, run_id: int | None, acked: int, now_s: float) -> None:
        """The session's Hello from this connection is stored; an older connection speaks for it no longer."""
        self.leave(session)
        self._live[session] = Live(session, connection, run_id, acked, now_s)
        self._by_connection.setdefault(connection, set()).add(session)

    def heard(self, session: str, connection: bytes, now_s: float) -> bool:
        """A message for a session came; False when this connection does not speak for it."""
        live = self._live.get(session)
        if live is None or live.connection != connection:
            return False
        live.heard_s = now_s
        return True

    def kept(self, session: str, run_id: int | None, acked: int) -> None:
        """The session's records up to `acked` are stored, in this run."""
        live = self._live.get(session)
        if live is not None:
            live.acked, live.run_id = max(acked, live.acked), run_id

    def leave(self, session: str) -> None:
        """The session has no connection any more."""
        live = self._live.pop(session, None)
        if live is not None:
            spoken = self._by_connection[live.connection]
            spoken.discard(session)
            if not spoken:
                del self._by_connection[live.connection]

    def gone(self, connection: bytes) -> list[str]:
        """The connection is gone; the sessions that it spoke for."""
        left = sorted(self._by_connection.get(connection, ()))
        for session in left:
            self.leave(session)
        return left

    def silent(self, now_s: float, for_s: float) -> list[Live]:
        """Sessions that nothing was heard of for so long."""
        return [live for live in self._live.values() if now_s - live.heard_s >= for_s]

    def of_runs(self, runs: set[int]) -> list[Live]:
        """The connected sessions that write to one of these runs."""
        return [live for live in self._live.values() if live.run_id in runs]
