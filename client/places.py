"""Where things are when nobody says otherwise: the endpoint, the state and the spool.

Both sides compute these alike, so a training process finds a daemon that was started without a word of configuration.
Nothing here touches the disk.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from client.protocol.limits import ENDPOINT_PATH_MAX_BYTES

SOCKET_NAME = "daemon.sock"


def runtime_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of the socket: $XDG_RUNTIME_DIR/telemetryd, else telemetryd-<uid> in the temp folder."""
    base = environ.get("XDG_RUNTIME_DIR")
    if base:
        return Path(base) / "telemetryd"
    import tempfile  # not with every start: it brings half a dozen modules

    return Path(tempfile.gettempdir()) / f"telemetryd-{os.getuid()}"


def endpoint(environ: Mapping[str, str] = os.environ) -> str:
    """$TELEMETRYD_ENDPOINT, else the socket in the runtime folder, as a ZeroMQ URL."""
    return environ.get("TELEMETRYD_ENDPOINT") or f"ipc://{runtime_dir(environ) / SOCKET_NAME}"


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """$TELEMETRYD_STATE_DIR, else $XDG_STATE_HOME/telemetryd, else ~/.local/state/telemetryd."""
    if given := environ.get("TELEMETRYD_STATE_DIR"):
        return Path(given)
    base = environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "telemetryd"


def spool_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """$TELEMETRYD_SPOOL_DIR, else `spool` in the state folder."""
    if given := environ.get("TELEMETRYD_SPOOL_DIR"):
        return Path(given)
    return state_dir(environ) / "spool"


def endpoint_problem(url: str) -> str | None:
    """Why a URL cannot be an endpoint, as a sentence that says what to do; None when it can."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("ipc", "tcp") or not rest:
        return f"endpoint {url!r} is not of the form ipc:///path/to/socket or tcp://host:port"
    if scheme == "tcp":
        host, colon, port = rest.rpartition(":")
        if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
            return f"endpoint {url!r} needs a host and a port, as in tcp://127.0.0.1:7077"
        return None
    if not rest.startswith(("/", "@")):
        return f"endpoint {url!r} needs an absolute path, as in ipc:///run/telemetryd/daemon.sock"
    size = len(os.fsencode(rest))
    if size > ENDPOINT_PATH_MAX_BYTES:
        return (
            f"the socket path of endpoint {url!r} has {size} bytes, and the system allows {ENDPOINT_PATH_MAX_BYTES}:"
            " choose a shorter one with --endpoint or TELEMETRYD_ENDPOINT"
        )
    return None
