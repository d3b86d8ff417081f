"""The W&B API key: where it may come from, and how `telemetryd login` stores it. In the daemon's environment only.

    WANDB_API_KEY_FILE   a file that holds nothing else, such as a mounted secret   ┐
    WANDB_API_KEY                                                                   ├ the first that is given counts
    netrc                $NETRC, else ~/.netrc, else ~/_netrc; by W&B's host        ┘

Invariants
* Sources are read anew at every call, so a key that was mended is picked up.
* A key is in no message, no log and no repr.
"""

from __future__ import annotations

import netrc
import os
import re
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from telemetryd.errors import ApiKeyError

DEFAULT_URL = "https://api.wandb.ai"
KEY_MIN_CHARS = 40
"""What W&B's keys have at least, without the prefix that servers of one's own put before a dash."""

_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")
"""A signed token (JWT), which W&B takes in a key's place."""


@dataclass(frozen=True)
class ApiKey:
    """A key; `source` says where it was found."""

    value: str = field(repr=False)
    source: str


def server_url(environ: Mapping[str, str]) -> str:
    """The W&B server's URL, without a slash at its end."""
    return (environ.get("WANDB_BASE_URL") or DEFAULT_URL).rstrip("/")


def machine(url: str) -> str:
    """The name of a server in netrc: host, and port where the URL has one. Raises ApiKeyError when it is no URL."""
    try:
        found = urlsplit(url).netloc
    except ValueError:
        found = ""
    if not found:
        raise ApiKeyError(f"{url!r} is no URL of a W&B server (WANDB_BASE_URL, --host): write it like {DEFAULT_URL}")
    return found.rpartition("@")[2]


def problem(key: str) -> str | None:
    """What is wrong with a key's form, None when nothing is."""
    if _TOKEN.fullmatch(key):
        return None
    secret = key.partition("-")[2] or key
    if not re.fullmatch(r"[\w-]+", secret):
        return "a W&B key has letters, digits and underscores only"
    if len(secret) < KEY_MIN_CHARS:
        return f"a W&B key has {KEY_MIN_CHARS} characters or more, this one has {len(secret)}"
    return None


def find(url: str, environ: Mapping[str, str]) -> ApiKey | None:
    """The key for the W&B server at `url`; None when no source has one.

    Raises ApiKeyError when a source that was named cannot be read, or holds what is no key.
    """
    if path := environ.get("WANDB_API_KEY_FILE"):
        return _checked(_from_file(Path(path).expanduser()), f"{path} (WANDB_API_KEY_FILE)")
    if key := environ.get("WANDB_API_KEY", "").strip():
        return _checked(key, "WANDB_API_KEY")
    for file in netrc_files(environ):
        found = _from_netrc(file, url)
        if found:
            return _checked(found, str(file))
    return None


def netrc_files(environ: Mapping[str, str]) -> list[Path]:
    """The netrc files to look at, the first one being the one to write to."""
    given = environ.get("NETRC")
    return [Path(given).expanduser()] if given else [Path.home() / ".netrc", Path.home() / "_netrc"]


def watched_files(environ: Mapping[str, str]) -> list[Path]:
    """Every file whose change may bring another key."""
    path = environ.get("WANDB_API_KEY_FILE")
    return ([Path(path).expanduser()] if path else []) + netrc_files(environ)


def _checked(key: str, source: str) -> ApiKey:
    wrong = problem(key)
    if wrong:
        raise ApiKeyError(f"the W&B key in {source} is none ({wrong}): put the right one there")
    return ApiKey(key, source)


def _from_file(path: Path) -> str:
    try:
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ApiKeyError(
            f"WANDB_API_KEY_FILE={path} cannot be read ({reason}): mount it, or unset the variable"
        ) from error
    if not key:
        raise ApiKeyError(f"WANDB_API_KEY_FILE={path} is empty: write the key into it, or unset the variable")
    return key


def _from_netrc(path: Path, url: str) -> str | None:
    try:
        hosts = netrc.netrc(path).hosts
    except FileNotFoundError:
        return None
    except (OSError, ValueError, netrc.NetrcParseError) as error:  # ValueError: it is no text
        raise ApiKeyError(f"{path} cannot be read ({error}): mend it") from error
    name = machine(url)
    for host in (name, name.rpartition(":")[0]):
        if host in hosts and hosts[host][2]:
            return hosts[host][2]
    return None


def store(url: str, key: str, environ: Mapping[str, str]) -> Path:
    """Put the key for a server into netrc, in the place of an older one; the file, which only its owner can read.

    Raises ApiKeyError for what is no key, OSError when the file cannot be written.
    """
    if wrong := problem(key):
        raise ApiKeyError(f"that is no W&B key: {wrong}")
    path = netrc_files(environ)[0]
    name = machine(url)
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        lines = []
    kept = _without(lines, name)
    entry = [f"machine {name}", "  login user", f"  password {shlex.quote(key)}"]
    text = "\n".join([*entry, *kept, ""])  # first: what stands behind a `default` is not found by everybody
    target = path.resolve()  # a link stays one
    descriptor, beside = tempfile.mkstemp(dir=target.parent, prefix=".netrc-")  # made with mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(target)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    return path


def _without(lines: list[str], name: str) -> list[str]:
    """netrc's lines but those of one machine's entry."""
    kept, skipping, in_macro = [], False, False
    for line in lines:
        words = line.split()
        if in_macro:
            in_macro = bool(words)  # a macro ends at an empty line
        elif words[:1] == ["macdef"]:
            in_macro, skipping = True, False
        elif words[:1] in (["machine"], ["default"]):
            skipping = words[:2] == ["machine", name]
        if not skipping:
            kept.append(line)
    return kept
