"""Finds the process of a session as this process sees it, whose process namespace may not be the training's.

What proves it is the session's lock, which the training process holds open for its life (journal/folder.py): a
descriptor that leads to `…/<session>/owner.lock`, whatever that folder is called in its container. Where descriptors
cannot be read (another user's process), number and start time must do.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from client.journal.folder import LOCK_NAME
from client.protocol.messages import Hello
from telemetryd.limits import DESCRIPTORS_LOOKED_AT
from telemetryd.supervision import leftovers
from telemetryd.supervision.leftovers import Process

_START_SLACK_S = 3.0
"""A process's start is known to about a second."""


def find(hello: Hello) -> Process | None:
    """The session's process, None where it is gone or cannot be seen from here."""
    if hello.pid <= 0:
        return None
    process = leftovers.identify(hello.pid)
    if process is not None and _may_be(process, hello):
        held = holds(process.pid, hello.session)
        if held or (held is None and hello.host == os.uname().nodename):
            return process
    found = _in_other_namespaces(hello)
    if found is None and process is not None and _may_be(process, hello) and hello.host == os.uname().nodename:
        return process  # its journal could not be made: number, start and host agree
    return found


def holds(pid: int, session: str) -> bool | None:
    """Whether the process has the session's lock open; None where that cannot be seen."""
    ending = f"/{session}/{LOCK_NAME}"
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in itertools.islice(entries, DESCRIPTORS_LOOKED_AT):
                try:
                    if str(Path(entry.path).readlink()).endswith(ending):
                        return True
                except FileNotFoundError:
                    continue
    except OSError:
        return None
    return False


def _may_be(process: Process, hello: Hello) -> bool:
    """It must have started before its session did."""
    started = leftovers.started_s(process)
    return not hello.start_time_ns or started <= hello.start_time_ns / 1e9 + _START_SLACK_S


def _in_other_namespaces(hello: Hello) -> Process | None:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and _own_number(entry.path) == hello.pid and holds(int(entry.name), hello.session):
            return leftovers.identify(int(entry.name))
    return None


def _own_number(folder: str) -> int | None:
    """The number by which a process in another namespace knows itself, None for one of our own."""
    try:
        lines = (Path(folder) / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("NSpid:"):
            numbers = line.split()[1:]
            return int(numbers[-1]) if len(numbers) > 1 else None
    return None
