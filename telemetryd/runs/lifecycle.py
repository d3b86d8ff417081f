"""When a run closes, and with which exit code. Pure.

A run is open while any training session of it is. Then the session that came last decides:

    ended by `finish()`            its exit code, at once (a launcher's last lines are waited for briefly)
    ended by the interpreter,      the launcher's exit code, once it has told one; a launcher that is open is waited for
    or its process died            without a launcher: what the End says, else 0; 255 for a process that died
"""

from __future__ import annotations

from collections.abc import Sequence

from telemetryd.inbox.progress import SessionEnd
from telemetryd.limits import CONSOLE_GRACE_S

DIED = 255
"""The exit code of a process that died and of which nobody knows more; what wandb shows as crashed."""


def closing_code(sessions: Sequence[SessionEnd], console: SessionEnd | None, waited_s: float) -> int | None:
    """The exit code to close the run with, None while it stays open.

    `sessions` are the training sessions of the run's present life in the order they came, `console` the launcher of
    the newest one, `waited_s` how long none of the sessions has been open.
    """
    if not sessions or any(session.state == "open" for session in sessions):
        return None
    last = sessions[-1]
    launcher_open = console is not None and console.state == "open"
    if last.state == "ended" and not last.implicit:
        return None if launcher_open and waited_s < CONSOLE_GRACE_S else last.exit_code or 0
    if launcher_open:
        return None
    if console is not None and console.exit_code is not None:
        return console.exit_code
    if last.state == "ended":
        return last.exit_code or 0
    return DIED
