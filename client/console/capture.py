"""How a session comes by what its process prints.

    auto, wrap   sys.stdout and sys.stderr, from their write methods: what Python code of this process prints
    redirect     descriptors 1 and 2: what C code and child processes write, too (redirect.py)
    off          nothing

Under `telemetryd run` the launcher has what the whole command prints. TELEMETRYD_OUTPUT names the files that are its
pipes: a stream that is still one of them is left to it, one that was led elsewhere is not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from client.console import wrap
from client.console.scribe import Scribe

if TYPE_CHECKING:
    from client.console.redirect import Redirect

NAMES = ("stdout", "stderr")
VARIABLE = "TELEMETRYD_OUTPUT"


class Capture:
    """Of one session: `start` it once, `stop` it before its End."""

    def __init__(self, scribe: Scribe, launch: str | None = None) -> None:
        """`launch` ties the helper of a redirection to the run."""
        self._scribe = scribe
        self._launch = launch
        self._streams: list[str] = []
        self._redirect: Redirect | None = None

    def start(self, mode: str) -> None:
        """Begin, as the setting `console` says."""
        if mode == "off":
            return
        names = [name for name in NAMES if not belongs_to_launcher(name)]
        if mode == "redirect" and self._launch is not None and not os.environ.get("TELEMETRYD_LAUNCH"):
            from client.console.redirect import Redirect

            self._redirect = Redirect.start(self._launch, names)
        if self._redirect is None:
            self._streams = [name for name in names if wrap.listen(name, self._heard)]

    def tick(self) -> None:
        """Called by the session's sender at each turn."""
        self._scribe.tick()

    def stop(self) -> None:
        """Take no more, and record what is left to say."""
        for name in self._streams:
            wrap.leave(name, self._heard)
        self._streams = []
        if self._redirect is not None:
            self._redirect.stop()
        self._scribe.close()

    def _heard(self, stream: str, text: str) -> None:
        self._scribe.add(stream, text)


def file_of(descriptor: int) -> str | None:
    """What tells the file behind a descriptor from every other: "device:inode"."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return f"{found.st_dev:x}:{found.st_ino:x}"


def belongs_to_launcher(name: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether what is written to sys.stdout or sys.stderr goes to a launcher, which records it."""
    launchers = environ.get(VARIABLE, "").split(",")
    try:
        descriptor = getattr(sys, name).fileno()
    except (AttributeError, OSError, ValueError):  # closed, None, or no file at all: a notebook's, a test's
        return False
    return file_of(descriptor) in launchers
