"""When a run closes, and with which exit code. Pure.

A run is open while any training session of it is. Then those sessions decide that nobody took the place of: of each
rank the one that came last, of processes without a rank the very last. Each gives a code:

    ended by `finish()`            its exit code, at once (a launcher's last lines are waited for briefly)
    ended by the interpreter,      its launcher's exit code, once that has told one; one that is open is waited for
    or its process died            without a launcher: what the End says, else 0; 255 for a process that died

The run's code is 0 when all of them are, else the worst: rather what a process said of itself than what was done to it,
for a launcher ends the other ranks when one has failed. Among equals it is the lowest rank's.
"""

from __future__ import annotations

from collections.abc import Sequence

from telemetryd.inbox.progress import SessionEnd
from telemetryd.limits import CONSOLE_GRACE_S

DIED = 255
"""The exit code of a process that died and of which nobody knows more; what wandb shows as crashed."""
SIGNALLED = 128
"""From here on an exit code tells of a signal, as a shell has it."""


def closing_code(sessions: Sequence[SessionEnd], waited_s: float) -> int | None:
    """The exit code to close the run with, None while it stays open.

    `sessions` are the training sessions of the run's present life in the order they came, `waited_s` how long none of
    them has been open.
    """
    if not sessions or any(session.state == "open" for session in sessions):
        return None
    codes = []
    for session in last_of_each(sessions):
        code = _code(session, waited_s)
        if code is None:
            return None
        codes.append(code)
    return min(codes, key=_badness)


def last_of_each(sessions: Sequence[SessionEnd]) -> list[SessionEnd]:
    """The newest session of each rank and of the processes without one, by rank; without ranks that the world had no
    room for any more when it was last begun."""
    newest = {session.rank: session for session in sessions}
    world = next((max(one.world_size, one.rank + 1) for one in reversed(sessions) if one.rank is not None), 0)
    there = [rank for rank in newest if rank is None or rank < world]
    return [newest[rank] for rank in sorted(there, key=lambda rank: -1 if rank is None else rank)]


def _code(session: SessionEnd, waited_s: float) -> int | None:
    launcher = session.launcher
    launcher_open = launcher is not None and launcher.state == "open"
    if session.state == "ended" and not session.implicit:
        return None if launcher_open and waited_s < CONSOLE_GRACE_S else session.exit_code or 0
    if launcher_open:
        return None
    if launcher is not None and launcher.exit_code is not None:
        return launcher.exit_code
    return session.exit_code or 0 if session.state == "ended" else DIED


def _badness(code: int) -> int:
    if code == 0:
        return 3
    if code == DIED:
        return 2
    return 1 if code >= SIGNALLED or code < 0 else 0
