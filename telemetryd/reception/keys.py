"""The daemon's keys on disk, and who may come in. CURVE (RFC 26): both sides prove that they have their secret keys.

    keys/server.key           the daemon's pair                                  0600
    keys/server-next.key      the pair it is about to change to                  0600
    keys/clients/NAME.pub     public keys of clients that are let in
    keys/client.key           what a client on this machine uses by itself       0600
    keys/client-NAME.key      what is to be copied to another machine            0600

Changing the daemon's key: `rotate` makes the next pair and writes both public keys into the clients' files, which are
then copied out; `switch` makes the next pair the one that counts. Clients that are connected try the other key by
themselves. A client's key is taken back by removing its .pub file; the daemon sees that within a second.

Files are replaced as a whole, so nobody reads half of one.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from client.keys import KeyFileError, entries_of
from telemetryd.errors import KeysError
from telemetryd.limits import CLIENT_KEYS_MAX, KEYS_LOOK_INTERVAL_S

log = logging.getLogger(__name__)

SERVER, NEXT, CLIENTS = "server.key", "server-next.key", "clients"
LOCAL_CLIENT = "client"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Pair = tuple[bytes, bytes]
"""Public and secret key, Z85."""


def server_pair(folder: Path) -> Pair | None:
    """The daemon's pair, None where none was made. Raises KeysError."""
    return _pair(folder / SERVER)


def _pair(path: Path) -> Pair | None:
    if not path.exists():
        return None
    try:
        entries = entries_of(path)
        return entries["public-key"][0].encode(), entries["secret-key"][0].encode()
    except (KeyFileError, KeyError) as error:
        raise KeysError(
            f"{path} is no server's key file ({error}): restore it, or remove it and make new keys"
        ) from None


def clients(folder: Path) -> dict[bytes, str]:
    """The clients that are let in: name by public key. A file that is none is passed over and logged."""
    found: dict[bytes, str] = {}
    for path in sorted((folder / CLIENTS).glob("*.pub"))[:CLIENT_KEYS_MAX]:
        try:
            found[entries_of(path)["public-key"][0].encode()] = path.stem
        except (KeyFileError, KeyError) as error:
            log.warning("client_key_unusable path=%s reason=%r", path, str(error))
    return found


def client_file(folder: Path, name: str) -> Path:
    """Where the key file of a client is written."""
    return folder / (f"{LOCAL_CLIENT}.key" if name == LOCAL_CLIENT else f"client-{name}.key")


def prepare(folder: Path, make_pair: Callable[[], Pair]) -> bool:
    """Make what is missing of the daemon's pair and this machine's client; True if anything was. Raises KeysError."""
    made = False
    if server_pair(folder) is None:
        _write(folder / SERVER, "telemetryd server key", *make_pair())
        made = True
    if LOCAL_CLIENT not in clients(folder).values():
        add(folder, LOCAL_CLIENT, make_pair)
        made = True
    return made


def add(folder: Path, name: str, make_pair: Callable[[], Pair]) -> Path:
    """Let one more client in; its key file. Raises KeysError."""
    if not _NAME.fullmatch(name):
        raise KeysError(f"{name!r} is no name for a client: use letters, digits, dots and dashes")
    if name in clients(folder).values():
        raise KeysError(f"there is a client {name!r} already: choose another name, or remove it first")
    if server_pair(folder) is None:
        prepare(folder, make_pair)
        if name == LOCAL_CLIENT:
            return client_file(folder, name)
    public, secret = make_pair()
    path = client_file(folder, name)
    _write(path, f'telemetryd client key "{name}"', public, secret, _server_keys(folder))
    _write(folder / CLIENTS / f"{name}.pub", f'telemetryd client "{name}", its public key', public)
    return path


def remove(folder: Path, name: str) -> None:
    """Let a client in no longer. Raises KeysError."""
    path = folder / CLIENTS / f"{name}.pub"
    if not _NAME.fullmatch(name) or not path.exists():
        known = ", ".join(sorted(clients(folder).values())) or "none"
        raise KeysError(f"there is no client {name!r}; the clients are: {known}")
    path.unlink()
    client_file(folder, name).unlink(missing_ok=True)


def rotate(folder: Path, make_pair: Callable[[], Pair]) -> list[Path]:
    """Make the daemon's next pair, and tell it to the clients' files here; those files. Raises KeysError."""
    if server_pair(folder) is None:
        raise KeysError(f"there is no server key in {folder} to change: make one with `telemetryd keys`")
    if not (folder / NEXT).exists():
        _write(folder / NEXT, "telemetryd server key, the next one", *make_pair())
    return _rewrite_clients(folder)


def switch(folder: Path) -> list[Path]:
    """Make the next pair the one that counts; the clients' files here, which now name it alone. Raises KeysError."""
    if _pair(folder / NEXT) is None:
        raise KeysError(
            "there is no next server key: make one with `telemetryd keys rotate`, and copy the clients' files"
        )
    (folder / NEXT).replace(folder / SERVER)
    return _rewrite_clients(folder)


def _rewrite_clients(folder: Path) -> list[Path]:
    written = []
    for name in clients(folder).values():
        path = client_file(folder, name)
        pair = _pair(path)
        if pair is not None:
            _write(path, f'telemetryd client key "{name}"', *pair, _server_keys(folder))
            written.append(path)
    return written


def _server_keys(folder: Path) -> list[bytes]:
    pairs = [_pair(folder / SERVER), _pair(folder / NEXT)]
    return [pair[0] for pair in pairs if pair is not None]


def _write(
    path: Path, title: str, public: bytes, secret: bytes | None = None, servers: list[bytes] | None = None
) -> None:
    lines = [f"# {title}" + (". Keep it secret: mode 0600." if secret else "."), f'public-key = "{public.decode()}"']
    if secret is not None:
        lines.append(f'secret-key = "{secret.decode()}"')
    lines += [f'server-key = "{server.decode()}"' for server in servers or []]
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=".key-")  # made with mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as stream:
                stream.write("\n".join(lines) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            Path(beside).replace(path)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise KeysError(f"{path} cannot be written ({error.strerror}): choose another --keys-dir") from error


class Keyring:
    """The keys as the daemon uses them: read again, at most once in a while, when their files have changed."""

    def __init__(self, folder: Path, pair: Pair) -> None:
        self._folder = folder
        self._looked_s = time.monotonic()
        self._seen = self._marks()
        self.pair = pair
        self.clients = clients(folder)

    @classmethod
    def of(cls, folder: Path) -> Keyring | None:
        """The keys of a folder, None where none were made. Raises KeysError."""
        pair = server_pair(folder)
        return cls(folder, pair) if pair is not None else None

    def renewed(self, now_s: float) -> bool:
        """Look whether the files have changed; True when those who are connected must prove themselves anew.

        That is so when the daemon's pair is another one, or a client was taken out. Keys that cannot be read leave
        those that are in use.
        """
        if now_s - self._looked_s < KEYS_LOOK_INTERVAL_S:
            return False
        self._looked_s = now_s
        marks = self._marks()
        if marks == self._seen:
            return False
        try:
            pair, let_in = server_pair(self._folder) or self.pair, clients(self._folder)
        except (KeysError, OSError) as error:
            log.error("keys_unusable reason=%r", str(error))
            return False
        self._seen = marks
        anew = pair != self.pair or bool(self.clients.keys() - let_in.keys())
        log.info("keys_changed clients=%d server=%s", len(let_in), "new" if pair != self.pair else "same")
        self.pair, self.clients = pair, let_in
        return anew

    def _marks(self) -> list[tuple[str, int, int]]:
        marks = []
        for path in (self._folder / SERVER, *sorted((self._folder / CLIENTS).glob("*.pub"))[:CLIENT_KEYS_MAX]):
            try:
                found = path.stat()
            except OSError:
                continue
            marks.append((path.name, found.st_mtime_ns, found.st_ino))
        return marks
