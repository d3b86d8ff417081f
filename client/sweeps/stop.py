"""The end of a trial that W&B stops: one KeyboardInterrupt, whoever tells it.

wandb's own agent sends SIGTERM, W&B's stop button comes through the daemon as a signal of the policy's choice. The
first one counts; the other would interrupt what training does to end well.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

_told = False


def first() -> bool:
    """Whether nobody has told this process to stop yet; from now on somebody has."""
    global _told
    was, _told = _told, True
    return not was


def again() -> None:
    """A new run begins: it may be told to stop, too."""
    global _told
    _told = False


def heed_terminate() -> None:
    """Take SIGTERM for a KeyboardInterrupt, where the process has nothing of its own to do then. Only the main thread
    can; elsewhere SIGTERM stays what it is."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminated)


def _terminated(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process, as ever
    if not first():
        return
    print(f"telemetryd: the sweep's agent stops this run: process {os.getpid()} is interrupted", file=sys.stderr)
    raise KeyboardInterrupt
