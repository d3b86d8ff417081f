"""What systemd is told of a daemon that it started with Type=notify: sd_notify(3), in as many lines as it takes.

    READY=1        the socket is bound and served, and sessions of the dead are adopted
    WATCHDOG=1     the main thread and reception both turn; thrice in WatchdogSec, which must be 4 s or more, since
                   an idle reception turns once a second
    STOPPING=1     a stop was asked for

Invariants
* Without NOTIFY_SOCKET nothing is done; what cannot be sent is logged once and changes nothing else.
* The variables are taken out of the environment: run workers and wandb-core must not speak for the daemon.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping

log = logging.getLogger(__name__)


class ServiceManager:
    """Who started the daemon and wants to hear of it; nobody, where the environment names none."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        period_us = environ.pop("WATCHDOG_USEC", "")
        wanted_of = environ.pop("WATCHDOG_PID", "") or str(os.getpid())
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._failed = False
        self._alive_next_s = 0.0
        self.patience_s: float | None = None
        """Silence after which the manager kills the daemon, in seconds; None where it has no watchdog."""
        if self._address and period_us.isdigit() and int(period_us) and wanted_of == str(os.getpid()):
            self.patience_s = int(period_us) / 1e6

    def ready(self) -> None:
        """The daemon serves."""
        self._tell(f"READY=1\nMAINPID={os.getpid()}")

    def stopping(self) -> None:
        """A stop was asked for."""
        self._tell("STOPPING=1")

    def alive(self, now_s: float, slowest_turn_s: float) -> None:
        """Call every time the main thread turns. `slowest_turn_s`: when the other threads last turned, by the same
        clock; a manager is left without a word when that is too long ago."""
        if self.patience_s is None or now_s < self._alive_next_s or now_s - slowest_turn_s > self.patience_s / 2:
            return
        self._alive_next_s = now_s + self.patience_s / 3
        self._tell("WATCHDOG=1")

    def _tell(self, words: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.setblocking(False)
                manager.sendto(words.encode(), self._address)
        except OSError as error:
            if not self._failed:
                log.warning("service_manager_not_told words=%r reason=%r", words, error.strerror or str(error))
            self._failed = True
