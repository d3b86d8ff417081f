"""How far an artifact that was logged has come, and waiting for that.

    queued ─► staging ─► staged ─► sending (no shared disk) ─► uploading ─► committed   in W&B, with its version
                 │          │            │                         ├──────► recorded    offline: in the run's file
                 └──────────┴────────────┴─────────────────────────┴──────► failed      `error` says why

Invariants
* The state never goes back, and an end state never changes.
* From `staged` on the sources may be overwritten or removed.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from client import guard
from client.errors import ArtifactFailedError

ORDER = ("queued", "staging", "staged", "sending", "uploading", "committed", "recorded", "failed")
ENDS = frozenset({"committed", "recorded", "failed"})
_SHARES = {"queued": 0.0, "staging": 0.0, "staged": 0.5, "sending": 0.5, "uploading": 0.75}


class Upload:
    """One artifact's way. Thread-safe."""

    def __init__(self, identity: str, name: str) -> None:
        self.id = identity
        self.name = name
        self.state = "queued"
        self.error: str | None = None
        self.info: dict[str, Any] = {}
        """What W&B says of the version once it is committed."""
        self.staged = False
        self.total_bytes = 0
        self.done_bytes = 0
        self._changed = threading.Condition()

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state in ENDS

    @property
    def progress(self) -> float:
        """From 0 to 1: half of it is staging, the rest the way to W&B."""
        if self.state == "failed":
            return 0.0
        share = _SHARES.get(self.state, 1.0)
        width = {"staging": 0.5, "sending": 0.25}.get(self.state, 0.0)
        return share + width * (self.done_bytes / self.total_bytes if self.total_bytes else 0.0)

    def move(self, state: str, *, error: str | None = None, info: dict[str, Any] | None = None) -> None:
        """Note a newer state; an older one changes nothing. A failure is told as an error of telemetry's."""
        with self._changed:
            if self.done or ORDER.index(state) <= ORDER.index(self.state):
                return
            self.state = state
            self.error = error
            self.info = info or {}
            self.staged = self.staged or state in ("staged", "sending", "uploading", "committed", "recorded")
            self._changed.notify_all()
        if state == "failed":
            guard.swallow("artifact", ArtifactFailedError(f"artifact {self.name} is not in W&B: {error}"))

    def advance(self, done_bytes: int) -> None:
        """So many bytes of what the state is about are done."""
        self.done_bytes += done_bytes

    def wait(self, timeout_s: float | None, *, staged: bool = False) -> bool:
        """Wait for the end, or for the sources to be free; False when that takes longer."""
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while not (self.done or (staged and self.staged)):
                left_s = None if end_s is None else end_s - time.monotonic()
                if left_s is not None and left_s <= 0:
                    return False
                self._changed.wait(left_s)
            return True

    def orphan(self) -> None:
        """In a forked child: what it waits for happens in the parent."""
        self._changed = threading.Condition()
        if not self.done:
            self.state, self.error = "failed", "this process was forked from the one that logged the artifact"
