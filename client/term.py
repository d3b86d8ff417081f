"""`termlog`, `termwarn`, `termerror`: messages on stderr, as wandb prints them.

`repeat=False` prints a text once a process. Colours only where stderr is a terminal. What `termsetup` silences goes to
the logger that it was given.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import Any

from client.limits import TERM_MESSAGES_KEPT

_BLUE, _YELLOW, _ERROR, _END = "\x1b[34m\x1b[1m", "\x1b[33m", "\x1b[32m\x1b[41m", "\x1b[0m"
_COLOURS = re.compile(r"\x1b\[[0-9;]*[a-zA-Z]")

_printed: set[str] = set()
_shows = {"silent": False, "show_info": True, "show_warnings": True, "show_errors": True}
_logger: Any = None


def termsetup(settings: Any, logger: Any) -> None:
    """Take `silent`, `show_info`, `show_warnings`, `show_errors` from settings; `logger` gets what is not printed."""
    global _logger
    for name, default in (("silent", False), ("show_info", True), ("show_warnings", True), ("show_errors", True)):
        value = getattr(settings, name, None)
        _shows[name] = default if value is None else bool(value)
    _logger = logger


def termlog(string: str = "", newline: bool = True, repeat: bool = True, prefix: bool = True) -> None:
    """Print a message to stderr."""
    _say(string, newline, repeat, prefix, logging.INFO, not _shows["show_info"])


def termwarn(string: str, newline: bool = True, repeat: bool = True, prefix: bool = True) -> None:
    """Print a warning to stderr."""
    string = "\n".join(f"{_YELLOW}WARNING{_END} {line}" for line in string.split("\n"))
    _say(string, newline, repeat, prefix, logging.WARNING, not _shows["show_warnings"])


def termerror(string: str, newline: bool = True, repeat: bool = True, prefix: bool = True) -> None:
    """Print an error to stderr."""
    string = "\n".join(f"{_ERROR}ERROR{_END} {line}" for line in string.split("\n"))
    _say(string, newline, repeat, prefix, logging.ERROR, not _shows["show_errors"])


def _say(string: str, newline: bool, repeat: bool, prefix: bool, level: int, hidden: bool) -> None:
    if not repeat:
        if string in _printed:
            return
        if len(_printed) < TERM_MESSAGES_KEPT:
            _printed.add(string)
    if prefix:
        string = "\n".join(f"{_BLUE}wandb{_END}: {line}" for line in string.split("\n"))
    if hidden or _shows["silent"] or os.environ.get("WANDB_SILENT", "").lower() in ("1", "true", "yes", "on"):
        if _logger is not None:
            _logger.log(level, _COLOURS.sub("", string))
        return
    isatty = getattr(sys.stderr, "isatty", None)
    if not (callable(isatty) and isatty()):
        string = _COLOURS.sub("", string)
    print(string, file=sys.stderr, end="\n" if newline else "", flush=True)
