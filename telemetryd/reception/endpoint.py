"""Taking an endpoint: folder, lock, and what a dead daemon left there.

ZeroMQ unlinks whatever socket file it finds before it binds, so a second daemon would silently take a living one's
place. Hence a lock file beside the socket: who holds its flock is the daemon, and the kernel frees it however it dies.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
import stat
from pathlib import Path

from client import places
from telemetryd.errors import AlreadyServingError, PlaceError


class EndpointLock:
    """The right to bind an endpoint, held until `release`."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the endpoint up. The lock file stays: removing it would let two daemons hold two files of one name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def claim(endpoint: str, *, has_keys: bool = False) -> EndpointLock:
    """Make sure that this process alone may bind `endpoint`, and that it has keys where others can reach it.

    Raises PlaceError where it cannot be an endpoint or its folder cannot be used, AlreadyServingError where somebody
    serves there.
    """
    problem = places.endpoint_problem(endpoint)
    if problem:
        raise PlaceError(problem)
    scheme, _, rest = endpoint.partition("://")
    if scheme == "tcp":
        if not has_keys:
            _check_loopback(endpoint, rest)
        return EndpointLock(None)
    if rest.startswith("@"):  # abstract: no file, and the kernel refuses a second bind
        return EndpointLock(None)
    return _claim_path(endpoint, Path(rest))


def _check_loopback(endpoint: str, address: str) -> None:
    host = address.rpartition(":")[0].strip("[]")
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise PlaceError(
            f"endpoint {endpoint!r} reaches beyond this machine, which needs keys: make them with `telemetryd keys`, or"
            " use tcp://127.0.0.1:PORT or an ipc:// socket"
        )


def _claim_path(endpoint: str, path: Path) -> EndpointLock:
    _make_folder(path.parent, private=path.parent == places.runtime_dir())
    lock_path = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise PlaceError(f"the socket's folder {path.parent} cannot be written ({error.strerror}): {_OTHER}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise AlreadyServingError(
                f"another daemon (process {holder}) serves on {endpoint}: use it, stop it, or choose another --endpoint"
            ) from None
        _check_socket_file(endpoint, path)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return EndpointLock(descriptor)


_OTHER = "choose another --endpoint or TELEMETRYD_ENDPOINT"


def _make_folder(folder: Path, *, private: bool) -> None:
    """Make the socket's folder; the default one must be ours alone, since it may lie in a folder that all can write."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if private:
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                raise PlaceError(f"the socket's folder {folder} belongs to somebody else: {_OTHER}")
            if found.st_mode & 0o077:
                folder.chmod(0o700)
    except OSError as error:
        raise PlaceError(f"the socket's folder {folder} cannot be made ({error.strerror}): {_OTHER}") from error


def _check_socket_file(endpoint: str, path: Path) -> None:
    """A socket file that nobody listens on is a dead daemon's, and ZeroMQ replaces it; anything else is not ours."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise PlaceError(f"the socket {path} cannot be looked at ({error.strerror}): {_OTHER}") from error
    if not stat.S_ISSOCK(found.st_mode):
        raise PlaceError(f"{path} is a file and no socket: move it away, or {_OTHER}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return
        except OSError as error:
            raise PlaceError(f"the socket {path} cannot be probed ({error.strerror}): {_OTHER}") from error
    raise AlreadyServingError(f"another program serves on {endpoint}: stop it, or {_OTHER}")
