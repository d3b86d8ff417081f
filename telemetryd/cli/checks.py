"""What `doctor` looks at, one function a subject. Each returns findings and raises nothing.

A finding is ok, a warning (works, but somebody should know) or a failure (something will not work), with what to do.
No check changes anything but for folders of ours that are made where they are missing.
"""

from __future__ import annotations

import ctypes
import enum
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from client import fastlog
from client.amounts import format_bytes
from client.journal.file_system import MEMORY_FILE_SYSTEMS, NETWORK_FILE_SYSTEMS, file_system
from client.protocol import version as protocol
from telemetryd.cli import asking, extras
from telemetryd.cli.asking import Presence
from telemetryd.cli.limits import INODES_MIN, ROOM_MIN_BYTES
from telemetryd.errors import ApiKeyError, PlaceError
from telemetryd.settings import DaemonSettings, api_key, folders

PYTHON_MIN = (3, 10)
BASE = ("pyzmq", "msgspec")


class Level(enum.Enum):
    """How a finding is meant."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class Finding:
    """One line of the report. `advice` says what to do; an `ok` has none."""

    subject: str
    level: Level
    text: str
    advice: str = ""


def ok(subject: str, text: str) -> Finding:
    """Nothing to be done."""
    return Finding(subject, Level.OK, text)


def warning(subject: str, text: str, advice: str) -> Finding:
    """It works, and somebody should know."""
    return Finding(subject, Level.WARNING, text, advice)


def failure(subject: str, text: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(subject, Level.FAILURE, text, advice)


def every(settings: DaemonSettings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """All checks, in the order in which a person mends things."""
    yield from python()
    yield from packages()
    yield from client_module(Path.cwd())
    yield from daemon(settings)
    yield from socket_place(settings.endpoint)
    yield from folder("state", settings.state_dir, "--state-dir or TELEMETRYD_STATE_DIR")
    yield from folder("spool", settings.spool_dir, "--spool-dir or TELEMETRYD_SPOOL_DIR")
    yield from wandb_key(environ)
    yield from gpu()


def python() -> Iterator[Finding]:
    """The interpreter."""
    text = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info[:2] < PYTHON_MIN:
        yield failure("python", text, f"use Python {'.'.join(map(str, PYTHON_MIN))} or later")
    else:
        yield ok("python", text)


def packages() -> Iterator[Finding]:
    """telemetryd, what a client needs, and what a daemon needs."""
    yield ok("telemetryd", f"{_version('telemetryd') or 'not installed, run from its source'}, protocol"
                           f" {protocol.MAJOR}.{protocol.MINOR},"
                           f" log {'compiled' if fastlog.COMPILED else 'in Python'}")  # fmt: skip
    found = {name: _version(name) for name in (*BASE, *extras.DAEMON_EXTRA.values())}
    if lacking := [name for name in BASE if found[name] is None]:
        yield failure("client packages", f"without {', '.join(lacking)}", "pip install telemetryd")
    else:
        yield ok("client packages", ", ".join(f"{name} {found[name]}" for name in BASE))
    extra = extras.DAEMON_EXTRA.values()
    if lacking := [name for name in extra if found[name] is None]:
        yield warning("daemon packages", f"without {', '.join(lacking)}",
                      f"where the daemon is to run: {extras.INSTALL}; a training process does without")  # fmt: skip
    else:
        yield ok("daemon packages", ", ".join(f"{name} {found[name]}" for name in extra))


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def client_module(directory: Path) -> Iterator[Finding]:
    """Whether `import client` in a script of this folder finds ours: a script's own folder comes first."""
    import client

    own = Path(client.__file__ or "").resolve()
    for candidate in (directory / "client.py", directory / "client" / "__init__.py", directory / "client"):
        if candidate.exists() and candidate.resolve() not in (own, own.parent):
            yield failure("client module", f"{candidate} hides telemetryd's `client` from scripts in this folder",
                          "rename it, or keep the training script in another folder")  # fmt: skip
            return
    yield ok("client module", f"import client is {own.parent}")


def daemon(settings: DaemonSettings) -> Iterator[Finding]:
    """Whether one answers."""
    presence, facts = asking.look(settings.endpoint)
    if presence is Presence.ABSENT:
        yield warning("daemon", f"none at {settings.endpoint}",
                      "`telemetryd run -- …` brings its own; for one that stays: telemetryd serve")  # fmt: skip
    elif presence is Presence.SILENT:
        yield failure("daemon", f"something listens at {settings.endpoint} and does not answer",
                      "is its process stopped? kill -CONT it, or end it and start another")  # fmt: skip
    else:
        yield ok("daemon", f"process {facts.get('pid', '?')} answers at {settings.endpoint}")
        yield from _same_places(settings, facts)


def _same_places(settings: DaemonSettings, facts: Mapping[str, object]) -> Iterator[Finding]:
    theirs = facts.get("spool_dir")
    if theirs and Path(str(theirs)) != settings.spool_dir:
        yield warning("daemon's spool", f"the daemon looks for journals in {theirs}, not in {settings.spool_dir}",
                      f"set TELEMETRYD_SPOOL_DIR={theirs}, or journals of dead processes are not found")  # fmt: skip
    spoken = str(facts.get("protocol") or "")
    if spoken and spoken.partition(".")[0] != str(protocol.MAJOR):
        yield failure("daemon's protocol", f"it speaks {spoken}, this client {protocol.MAJOR}.{protocol.MINOR}",
                      "update the older side")  # fmt: skip


def socket_place(endpoint: str) -> Iterator[Finding]:
    """Whether the socket's folder can be used, and only by its owner."""
    place = folders.socket_folder(endpoint)
    if place is None:
        yield ok("socket", endpoint)
        return
    mend = "--endpoint or TELEMETRYD_ENDPOINT"
    try:
        folders.usable(place, "socket's directory", mend)
        found = place.stat()
    except (PlaceError, OSError) as error:
        yield _unusable("socket", error, mend)
        return
    if found.st_uid != os.getuid():
        yield warning("socket", f"{place} belongs to user {found.st_uid}", f"choose a folder of your own with {mend}")
    elif found.st_mode & 0o022 and not found.st_mode & 0o1000:
        yield warning("socket", f"others may replace files in {place}", f"chmod 700 {place}")
    else:
        yield ok("socket", f"{endpoint} ({len(os.fsencode(endpoint.removeprefix('ipc://')))} of 107 bytes)")


def folder(subject: str, path: Path, mend: str) -> Iterator[Finding]:
    """Whether a folder can be written, what it lies on, and whether there is room."""
    try:
        folders.usable(path, f"{subject} directory", mend)
        room = os.statvfs(path)
    except (PlaceError, OSError) as error:
        yield _unusable(subject, error, mend)
        return
    kind = file_system(path)
    free = room.f_bavail * room.f_frsize
    text = f"{path} ({kind or 'unknown file system'}, {format_bytes(free)} free)"
    if kind in MEMORY_FILE_SYSTEMS:
        yield warning(subject, text, f"it is in memory and gone after a restart: put it on a disk with {mend}")
    elif kind in NETWORK_FILE_SYSTEMS:
        yield warning(subject, text, f"a network's hiccups and locks reach it: put it on a local disk with {mend}")
    elif free < ROOM_MIN_BYTES:
        yield warning(subject, text, f"make room: at least {format_bytes(ROOM_MIN_BYTES)} should be free")
    elif room.f_files and room.f_favail < INODES_MIN:
        yield warning(subject, f"{text}, {room.f_favail} inodes left", "remove small files: the disk is out of inodes")
    else:
        yield ok(subject, text)


def _unusable(subject: str, error: PlaceError | OSError, mend: str) -> Finding:
    """A PlaceError says what to do behind its last colon."""
    text, colon, advice = str(error).rpartition(": ")
    if isinstance(error, OSError) or not colon:
        return failure(subject, str(error), f"choose another with {mend}")
    return failure(subject, text, advice)


def wandb_key(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether there is a key, and where; never the key itself."""
    url = api_key.server_url(environ)
    try:
        host = api_key.machine(url)
        key = api_key.find(url, environ)
    except ApiKeyError as error:
        text, _, advice = str(error).rpartition(": ")
        yield failure("W&B key", text or str(error), advice if text else "mend it: telemetryd login")
        return
    if key is not None:
        yield ok("W&B key", f"for {host} in {key.source}")
    elif environ.get("WANDB_MODE") == "offline":
        yield ok("W&B key", "none, and none needed: WANDB_MODE is offline")
    else:
        yield warning("W&B key", f"none for {host}: runs are kept offline",
                      "telemetryd login, or set WANDB_API_KEY or WANDB_API_KEY_FILE where the daemon runs; runs that"
                      " were online then go up by themselves, others with `wandb sync`")  # fmt: skip


def gpu() -> Iterator[Finding]:
    """Whether NVIDIA's driver can be asked; a machine without a GPU is no fault."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
        driver = True
    except OSError:
        driver = False
    device = Path("/dev/nvidiactl").exists()
    if not driver and device:
        yield warning("GPU driver", "there is an NVIDIA device, and libnvidia-ml.so.1 cannot be loaded",
                      "in a container: give it the driver's `utility` capability"
                      " (NVIDIA_DRIVER_CAPABILITIES=compute,utility)")  # fmt: skip
    elif not driver:
        yield ok("GPU driver", "no NVIDIA driver here: GPUs are not sampled")
    elif _version("nvidia-ml-py") is None:
        yield warning("GPU driver", "the driver is there, its Python binding nvidia-ml-py is not", extras.INSTALL)
    else:
        yield ok("GPU driver", f"libnvidia-ml.so.1 loads, nvidia-ml-py {_version('nvidia-ml-py')}")
