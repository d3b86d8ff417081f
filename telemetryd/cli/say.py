"""What the launcher says beside the command's own output: on stderr, each line marked, once each."""

from __future__ import annotations

import os
import sys


def say(text: str, *, mark: str = "telemetryd: ") -> None:
    """Write a line to stderr. A stderr that nobody reads any more is no reason to fail."""
    try:
        sys.stderr.write(f"{mark}{text}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # AttributeError: started without a stderr, sys.stderr is None
        return


def is_terminal() -> bool:
    """Whether stderr is a terminal, where a bar can be drawn and colours be used."""
    return os.isatty(2) and os.environ.get("TERM") != "dumb"


def painted(text: str, style: str) -> str:
    """`text` in a style ("bold", "dim", "red", "green", "yellow") on a terminal that wants colours."""
    codes = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
    if not is_terminal() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{codes[style]}m{text}\x1b[0m"
