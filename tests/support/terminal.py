"""A command in a terminal of its own, as a person has it: keys are typed, the screen's bytes are read back."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.support.processes import kill_tree

TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)
"""What the command's process does first: the terminal becomes its session's own, so that ^C and ^Z are signals."""


class Terminal:
    """Use it in a with block: at its end the command is killed with all it started."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        size: tuple[int, int] = (24, 100),
    ) -> None:
        self.seen = b""
        self._outer, inner = os.openpty()
        self.resize(*size)
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *map(str, command)],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env={**os.environ, "TERM": "xterm-256color", **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
        os.close(inner)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        kill_tree(self.process.pid)
        self.process.wait(10)
        os.close(self._outer)

    @property
    def outer(self) -> int:
        """The terminal's other side, where a person sits."""
        return self._outer

    @property
    def text(self) -> str:
        """Everything the terminal was given so far."""
        return self.seen.decode(errors="replace")

    def type(self, keys: str) -> None:
        """Type; "\\x03" is ^C, "\\x1a" ^Z, "\\x1c" ^\\."""
        os.write(self._outer, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size."""
        fcntl.ioctl(self._outer, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for(self, text: str, deadline_s: float = 30.0, *, after: int = 0) -> int:
        """Read until `text` stands behind position `after`; the position behind it. Raises AssertionError if not."""
        end_s = time.monotonic() + deadline_s
        while (found := self.seen.find(text.encode(), after)) < 0:
            assert time.monotonic() < end_s, f"no {text!r} on the terminal:\n{self.text}"
            if not self._read(0.2) and self.process.poll() is not None:
                raise AssertionError(f"ended without {text!r} on the terminal:\n{self.text}")
        return found + len(text.encode())

    def wait(self, deadline_s: float = 30.0) -> int:
        """Read until the command has ended; its exit code."""
        end_s = time.monotonic() + deadline_s
        while self.process.poll() is None:
            assert time.monotonic() < end_s, f"still running:\n{self.text}"
            self._read(0.05)
        while self._read(0.05):
            pass
        return int(self.process.returncode)

    def _read(self, timeout_s: float) -> bool:
        ready, _, _ = select.select([self._outer], [], [], timeout_s)
        if not ready:
            return False
        try:
            data = os.read(self._outer, 1 << 16)
        except OSError:  # EIO: nobody has the other side open any more
            return False
        self.seen += data
        return bool(data)
