"""A launcher's signals: blocked from its first moment and taken one by one with the kernel's word on where each came
from, so that the command gets each exactly once.

The command stays in the launcher's process group. What the terminal sends (^C, ^\\, a hang-up) the kernel has given to
the whole group: forwarding it would make it two. What somebody sent to the launcher's process alone is forwarded. The
stop signals are left alone, so ^Z stops launcher and command together and the shell sees one stopped job.

Every thread of the launcher is started after `Signals()` and inherits the mask; the command gets the mask back that the
launcher was started with.
"""

from __future__ import annotations

import math
import os
import signal
import time
from dataclasses import dataclass

FORWARDED = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2})
ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
"""With no command left to forward them to, these tell the launcher itself to leave."""

WATCHED = FORWARDED | {signal.SIGCHLD, signal.SIGWINCH}

SI_KERNEL = 0x80
"""`si_code` of a signal that the kernel made, as the terminal's driver does (asm-generic/siginfo.h)."""


@dataclass(frozen=True)
class Received:
    """One signal; `from_kernel` tells that the terminal sent it to the whole foreground process group."""

    signum: int
    from_kernel: bool = False


class Signals:
    """The launcher's signals, blocked until `restore`. Made and used by the main thread."""

    def __init__(self) -> None:
        self.inherited = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)

    def wait(self, timeout_s: float = math.inf) -> Received | None:
        """The next signal, None when none comes within `timeout_s`."""
        if timeout_s == math.inf:
            return _received(signal.sigwaitinfo(WATCHED))
        info = signal.sigtimedwait(WATCHED, max(0.0, timeout_s))
        return None if info is None else _received(info)

    def told_to_leave(self, timeout_s: float) -> int | None:
        """Wait for `timeout_s`, or until a signal comes that ends the launcher; that signal, else None."""
        end_s = time.monotonic() + timeout_s
        while True:
            received = self.wait(end_s - time.monotonic())
            if received is not None and received.signum in ENDING:
                return received.signum
            if time.monotonic() >= end_s:
                return None

    def restore(self) -> None:
        """Give the process the mask back that it was started with, without the signals that came too late."""
        while self.wait(0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, self.inherited)


def _received(info: signal.struct_siginfo) -> Received:
    return Received(info.si_signo, info.si_code == SI_KERNEL)


def reached_already(received: Received, pid: int) -> bool:
    """Whether the terminal has given this signal to process `pid` too: it is in the launcher's own process group."""
    try:
        return received.from_kernel and os.getpgid(pid) == os.getpgrp()
    except ProcessLookupError:
        return True
