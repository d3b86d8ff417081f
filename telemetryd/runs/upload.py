"""Whether an online run's upload goes on: joins what the server has, what wandb-core's log says, and the time. Pure.

    wandb-core gave up (401, 404 …)                   UploadStopped, permanent where only somebody's act helps
    the server does not answer us                     trouble "unreachable", until it does; never a restart
    wandb-core tries again (500, 429, lost answers)   trouble "not_taken", the same
    the count stands still
        and an answer made no sense                   UploadStopped after GARBAGE_LOST_S: taken for success, so lost
        for no known reason                           trouble "slow", then UploadStopped after `patience_s`

Whoever is told UploadStopped ends wandb-core and resumes with a new one, which sends what the server lacks.
"""

from __future__ import annotations

from dataclasses import dataclass

from telemetryd.runs.control import Trouble
from telemetryd.runs.limits import GARBAGE_LOST_S, SERVER_NOTICE_S


@dataclass(frozen=True)
class Signs:
    """What is known at a moment. Times are how long ago, in seconds; None: never.

    `rows` the server has, of `wanted` that wandb-core has in its file.
    """

    rows: int
    wanted: int
    fatal: str | None = None
    garbage_s: float | None = None
    retry_s: float | None = None
    retry_reason: str = ""
    silent_s: float = 0.0
    silence: str = ""


@dataclass(frozen=True)
class UploadStopped:
    """Nothing more will come of this wandb-core."""

    message: str


class UploadWatch:
    """The state: since when the server's count has stood still while something was missing."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._rows = 0
        self._moved_s: float | None = None
        self._excused_s: float | None = None
        self.advanced = False
        """Whether the server's count has risen since the watch began."""

    def judge(self, now_s: float, signs: Signs) -> Trouble | UploadStopped | None:
        """What to report now, None when all is well."""
        if signs.fatal is not None:
            return UploadStopped(signs.fatal)
        if signs.rows > self._rows:
            self.advanced = True
        if signs.rows != self._rows or signs.rows >= signs.wanted or self._moved_s is None:
            self._rows, self._moved_s = signs.rows, now_s
        if signs.silent_s >= SERVER_NOTICE_S:
            self._excused_s = now_s
            return Trouble("unreachable", f"{signs.silence}; rows are kept, and delivered when it does")
        if signs.rows >= signs.wanted:
            return None
        stalled_s = now_s - self._moved_s
        garbage = signs.garbage_s is not None and signs.garbage_s <= stalled_s
        if garbage and stalled_s >= GARBAGE_LOST_S:
            return UploadStopped("W&B answered an upload with what cannot be understood, and does not have its rows")
        if signs.retry_s is not None and signs.retry_s <= self._patience_s:
            self._excused_s = now_s - signs.retry_s
            if stalled_s >= SERVER_NOTICE_S:
                said = f"W&B does not take the rows now ({signs.retry_reason})"
                return Trouble("not_taken", f"{said}; they are kept and sent again")
            return None
        since_s = max(self._moved_s, self._excused_s if self._excused_s is not None else self._moved_s)
        if now_s - since_s >= self._patience_s:
            return UploadStopped(f"W&B has {signs.rows} of {signs.wanted} rows, and no more for {stalled_s:.0f} s")
        if stalled_s >= 2 * SERVER_NOTICE_S:
            return Trouble("slow", f"W&B has {signs.rows} of {signs.wanted} rows, and no more for a while")
        return None
