"""A stdout and stderr to be read: a pseudo-terminal each where the one before it is a terminal, else a pipe.

So a progress bar is drawn as without the launcher, and a redirected stream is buffered as without it. The
pseudo-terminals are raw (what goes in comes out, the real terminal does the rest) and control no session: the command
keeps the real terminal for stdin, ^C and ^Z.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from dataclasses import dataclass

NAMES = {1: "stdout", 2: "stderr"}

_WINDOW = struct.Struct("HHHH")  # rows, columns, width and height in pixels


@dataclass
class Stream:
    """One stream of the command. `inner` is the command's end, `outer` the launcher's, `shown` where it is shown."""

    name: str
    shown: int
    outer: int
    inner: int
    is_terminal: bool

    @classmethod
    def open(cls, shown: int) -> Stream:
        """The stream that stands before descriptor `shown` (1 or 2). Raises OSError."""
        if not os.isatty(shown):
            outer, inner = os.pipe()
            return cls(NAMES[shown], shown, outer, inner, is_terminal=False)
        outer, inner = os.openpty()
        stream = cls(NAMES[shown], shown, outer, inner, is_terminal=True)
        try:
            attributes = termios.tcgetattr(shown)
            attributes[1] &= ~termios.OPOST
            attributes[3] &= ~(termios.ECHO | termios.ECHONL)
            termios.tcsetattr(inner, termios.TCSANOW, attributes)
            stream.resize()
        except BaseException:
            stream.close_inner()
            os.close(outer)
            raise
        return stream

    def resize(self) -> None:
        """Give the pseudo-terminal the window size of the terminal that shows it."""
        if not self.is_terminal:
            return
        try:
            size = fcntl.ioctl(self.shown, termios.TIOCGWINSZ, bytes(_WINDOW.size))
            fcntl.ioctl(self.outer, termios.TIOCSWINSZ, size)
        except OSError:  # the terminal has gone: its last size stays
            return

    def close_inner(self) -> None:
        """Close the launcher's copy of the command's end: the stream ends when the command has closed its own."""
        os.close(self.inner)


def fill_standard_descriptors() -> None:
    """Open /dev/null on those of 0, 1 and 2 that are closed, or the next file opened would be taken for them."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
