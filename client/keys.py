"""A client's key file: what it needs to reach a daemon over TCP. `telemetryd keys` writes it.

    # telemetryd client key "client" …
    public-key = "…"        the client's own pair, Z85 (CURVE, RFC 26)
    secret-key = "…"
    server-key = "…"        the daemon's public key; a second line while the daemon's key is being changed

The file is named by $TELEMETRYD_KEY_FILE, else it is `keys/client.key` in the state folder where that exists. It is
read again whenever the daemon does not accept the connection, so keys are changed without restarting training.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from client import places

_LINE = re.compile(r'\s*([a-z-]+)\s*=\s*"([^"]*)"\s*')
_Z85 = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_FILE_MAX_BYTES = 64 << 10


class KeyFileError(Exception):
    """The key file cannot be read, or is none; the message says which and what to do."""


class ClientKey(msgspec.Struct, frozen=True):
    """A client's pair and the daemon's public keys, all Z85."""

    public: bytes
    secret: bytes
    servers: tuple[bytes, ...]

    def __repr__(self) -> str:  # the secret is for nobody's log
        return f"ClientKey(public={self.public!r}, servers={self.servers!r})"


def path(endpoint: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The key file for an endpoint; None where there is none, or it needs none."""
    if not endpoint.startswith("tcp://"):
        return None
    if given := environ.get("TELEMETRYD_KEY_FILE"):
        return Path(given).expanduser()
    usual = places.state_dir(environ) / "keys" / "client.key"
    return usual if usual.exists() else None


def find(endpoint: str, environ: Mapping[str, str] = os.environ) -> ClientKey | None:
    """The key for an endpoint; None where there is none, or it needs none. Raises KeyFileError."""
    where = path(endpoint, environ)
    return read(where) if where is not None else None


def read(where: Path) -> ClientKey:
    """The key in a file. Raises KeyFileError."""
    entries = entries_of(where)
    public, secret = entries.get("public-key", []), entries.get("secret-key", [])
    servers = entries.get("server-key", [])
    if len(public) != 1 or len(secret) != 1 or not servers:
        raise KeyFileError(f"{where} is no client's key file: make one with `telemetryd keys add NAME` at the daemon")
    return ClientKey(public[0].encode(), secret[0].encode(), tuple(server.encode() for server in servers))


def entries_of(where: Path) -> dict[str, list[str]]:
    """The entries of a key file by name, each as often as it stands there. Raises KeyFileError."""
    try:
        with where.open(encoding="ascii") as stream:
            text = stream.read(_FILE_MAX_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise KeyFileError(f"the key file {where} cannot be read ({reason}): see TELEMETRYD_KEY_FILE") from error
    entries: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None or not _Z85.fullmatch(found[2]):
            raise KeyFileError(f"the key file {where} is damaged: copy it again, or make another")
        entries.setdefault(found[1], []).append(found[2])
    return entries
