"""Status of every component, from a closed set, with a reason.

    starting → ok ⇄ recoverable          ok/recoverable → permanent (somebody must act; may still return to ok)
                     any → stopping → stopped

`Health` is shared by the daemon's threads; its methods hold a lock for a dictionary access only.
"""

from __future__ import annotations

import enum
import logging
import threading
from dataclasses import dataclass

log = logging.getLogger(__name__)


class State(enum.Enum):
    """How a component is."""

    STARTING = "starting"
    OK = "ok"
    RECOVERABLE = "recoverable"
    PERMANENT = "permanent"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Status:
    """A component's state, and why it is not `ok`."""

    state: State
    reason: str | None = None

    def as_map(self) -> dict[str, str | None]:
        """What `status` prints."""
        return {"state": self.state.value, "reason": self.reason}


class Health:
    """The status of the daemon's components by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._components: dict[str, Status] = {}

    def set(self, component: str, state: State, reason: str | None = None) -> None:
        """Note a component's state; a change is logged."""
        status = Status(state, reason)
        with self._lock:
            before = self._components.get(component)
            self._components[component] = status
        if before is None or before.state is not state:
            level = logging.WARNING if state in (State.RECOVERABLE, State.PERMANENT) else logging.INFO
            log.log(level, "component name=%s state=%s reason=%r", component, state.value, reason)

    def get(self, component: str) -> Status | None:
        """The status of one component, None when it never had one."""
        with self._lock:
            return self._components.get(component)

    def as_map(self) -> dict[str, dict[str, str | None]]:
        """All components by name."""
        with self._lock:
            return {name: status.as_map() for name, status in sorted(self._components.items())}
