"""How a setting's text becomes its value. Each parser takes what a TOML file, a variable or a flag can hold, returns
the value in its unit, and raises ValueError with the part of the message that follows the setting's name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from client import amounts, places
from client.protocol import rank_policy
from telemetryd.settings import limits

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


def parse_bytes(minimum: int) -> Callable[[Any], int]:
    """A parser of sizes: 8589934592, "8GiB", "500 MB"; at least `minimum` bytes."""

    return partial(amounts.size_bytes, minimum=minimum)


def parse_rate(value: Any) -> int:
    """Bytes per second: 4000000, "4MB", "4 MB/s"; 0 for no limit, else at least UPLOAD_RATE_MIN_BYTES_PER_S."""
    text = re.sub(r"\s*/\s*s(ec)?\s*$", "", str(value))
    try:
        rate = amounts.size_bytes(text, minimum=0)
    except ValueError:
        raise ValueError("is no rate; write it like 4MB/s, 500KiB/s or a number of bytes per second") from None
    if 0 < rate < limits.UPLOAD_RATE_MIN_BYTES_PER_S:
        least = amounts.format_bytes(limits.UPLOAD_RATE_MIN_BYTES_PER_S)
        raise ValueError(f"is too little for rows to come through; the least is {least} a second, 0 is without a limit")
    return rate


def parse_duration(maximum_s: float) -> Callable[[Any], float]:
    """A parser of durations in seconds: 60, 2.5, "90s", "5min", "1h"; from 0 to `maximum_s`."""

    return partial(amounts.duration_s, maximum_s=maximum_s)


def parse_count(minimum: int, maximum: int) -> Callable[[Any], int]:
    """A parser of whole numbers from `minimum` to `maximum`."""

    def parse(value: Any) -> int:
        text = str(value).strip()
        if isinstance(value, bool) or not re.fullmatch(r"[+-]?\d+", text):
            raise ValueError("is no whole number")
        if not minimum <= int(text) <= maximum:
            raise ValueError(f"must be from {minimum} to {maximum}")
        return int(text)

    return parse


def parse_choice(*choices: str) -> Callable[[Any], str]:
    """A parser of one word out of `choices`, in any case."""

    def parse(value: Any) -> str:
        word = value.strip().lower() if isinstance(value, str) else None
        if word not in choices:
            raise ValueError(f"must be {', '.join(choices[:-1])} or {choices[-1]}")
        return word

    return parse


def parse_bool(value: Any) -> bool:
    """True and false, also as the words a variable can hold."""
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("must be true or false")


def parse_folders(value: Any) -> str:
    """Absolute paths with colons between: from such a text or, in a file, from a list."""
    entries = value if isinstance(value, list) else str(value).split(":")
    return ":".join(str(parse_folder(entry)) for entry in entries if entry)


def parse_label(value: Any) -> str:
    """A name for this node, or one of the words "auto" and "off"."""
    text = str(value).strip()
    if not text or len(text) > limits.NODE_LABEL_MAX_CHARS or not text.isprintable():
        raise ValueError(f"must be auto, off, or a name of 1 to {limits.NODE_LABEL_MAX_CHARS} characters")
    return text


def parse_folder(value: Any) -> Path:
    """An absolute path; `~` is the home folder, and a relative path starts at the working directory."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value) or "\0" in os.fspath(value):
        raise ValueError("is no folder; write its path as text")
    try:
        expanded = Path(value).expanduser()
    except RuntimeError:
        raise ValueError("is no folder; the home folder that ~ stands for is not known") from None
    return Path(os.path.abspath(expanded))  # noqa: PTH100  (resolve() would follow links)


def parse_endpoint(value: Any) -> str:
    """A ZeroMQ URL that client and daemon can both use."""
    url = str(value).strip()
    if problem := places.endpoint_problem(url):
        raise ValueError(f"cannot be used: {problem}")
    return url


def parse_http(value: Any) -> str:
    """Where to answer HTTP: "host:port", "[::1]:port", or one of the words "auto" and "off". Port 0 is any free one."""
    text = str(value).strip()
    if text.lower() in ("auto", "off"):
        return text.lower()
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or (":" in bare and bare == host) or not port.isdecimal() or int(port) > 65535:
        raise ValueError("must be auto, off, or an address like 127.0.0.1:19319 or [::1]:19319")
    return text


def parse_ranks(value: Any) -> str:
    """A policy for ranks, as client and worker read it (client/protocol/rank_policy.py)."""
    return rank_policy.parse(value).text()


def format_duration(seconds: float) -> str:
    """A duration as a person reads it: 0.3 s, 45 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f}".removesuffix(".0") + " s"
    whole = int(seconds)
    for size, unit, smaller, smaller_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{whole} s"
