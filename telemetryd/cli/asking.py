"""Questions to a daemon, as the command line needs them: an answer or None, and never long when nobody is there."""

from __future__ import annotations

import enum
import socket
from typing import Any

from client.connection import ask as ask_daemon
from client.errors import NoAnswerError
from telemetryd.cli.limits import CONNECT_TIMEOUT_S, PING_TIMEOUT_S

__all__ = ["NoAnswerError", "Presence", "ask", "look", "ping"]


class Presence(enum.Enum):
    """Whether a daemon is at an endpoint."""

    ABSENT = "absent"
    SILENT = "silent"
    """Something listens there and does not answer: a daemon that is stopped or stuck, or something else."""
    ANSWERING = "answering"


def ask(endpoint: str, kind: str, timeout_s: float, **arguments: Any) -> dict[str, Any]:
    """The daemon's answer. Raises NoAnswerError when none comes in time, or an error comes instead."""
    if not listening(endpoint):
        raise NoAnswerError(f"no daemon listens at {endpoint}")
    return ask_daemon(endpoint, kind, arguments, timeout_s)


def ping(endpoint: str, timeout_s: float = PING_TIMEOUT_S) -> dict[str, Any] | None:
    """What the daemon says of itself; None when it does not."""
    try:
        return ask(endpoint, "ping", timeout_s)
    except NoAnswerError:
        return None


def look(endpoint: str, timeout_s: float = PING_TIMEOUT_S) -> tuple[Presence, dict[str, Any]]:
    """Whether a daemon is there, with its answer to a ping."""
    if not listening(endpoint):
        return Presence.ABSENT, {}
    answer = ping(endpoint, timeout_s)
    return (Presence.SILENT, {}) if answer is None else (Presence.ANSWERING, answer)


def listening(endpoint: str) -> bool:
    """Whether somebody accepts connections there. ZeroMQ cannot tell: it goes on trying for ever."""
    scheme, _, rest = endpoint.partition("://")
    family = socket.AF_UNIX if scheme == "ipc" else None
    try:
        if family is None:
            host, _, port = rest.rpartition(":")
            with socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S):
                return True
        with socket.socket(family) as probe:
            probe.settimeout(CONNECT_TIMEOUT_S)
            probe.connect("\0" + rest[1:] if rest.startswith("@") else rest)
            return True
    except BlockingIOError:  # its queue of connections is full: it is there, and does not accept
        return True
    except OSError:
        return False
