"""What a test must not leave behind: threads, file descriptors, processes, sockets, temporary files.

`take` notes what there is; `left` says, as sentences, what is there beyond that. Both look at this process and at the
processes that carry the test's mark in their environment, so that orphans of a killed parent are seen as well.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import command_line, descendants, state, with_environment

MARK = "TEST_MARK"
"""The environment variable whose value is the test's own folder: whatever a test starts inherits it."""

FOR_GOOD = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""Helpers that Python keeps for a process's life, once used."""

SHARED: set[int] = set()
"""Daemons that serve several tests: what one of them starts and keeps is its own, not the test's."""

HARMLESS_TARGETS = ("/dev/", "/proc/", "/sys/")
"""Devices that libraries keep open once loaded (a GPU driver, urandom)."""

MADE_BY_IMPORT = ("wandb-artifacts", "wandb-media")
"""Endings of the folders that importing wandb makes, for the life of the importing process."""


@dataclass(frozen=True)
class Inventory:
    """What there was at one moment."""

    threads: frozenset[int]
    descriptors: frozenset[tuple[int, str]]
    children: frozenset[int]


def _descriptors() -> frozenset[tuple[int, str]]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add((int(entry.name), str(entry.readlink())))
    return frozenset(found)


def _threads() -> dict[int, str]:
    return {id(thread): repr(thread) for thread in threading.enumerate()}


def take() -> Inventory:
    """What this process holds now."""
    return Inventory(frozenset(_threads()), _descriptors(), frozenset(descendants(os.getpid())))


def _new_children(before: Inventory, mark: str) -> set[int]:
    subprocess._cleanup()  # type: ignore[attr-defined]  # reaps the children of forgotten Popen objects
    found = (descendants(os.getpid()) | with_environment(f"{MARK}={mark}")) - before.children
    found = found.difference(*(descendants(pid) for pid in SHARED))
    return {pid for pid in found if not any(name in command_line(pid) for name in FOR_GOOD)} - {os.getpid()}


def left_processes(before: Inventory, mark: str) -> set[int]:
    """Processes of the test, orphans and unreaped zombies included."""
    return {pid for pid in _new_children(before, mark) if state(pid) is not None}


def left(before: Inventory, mark: str) -> list[str]:
    """What is there beyond `before`, a sentence each."""
    said = [f"thread {name}" for key, name in _threads().items() if key not in before.threads]
    for number, target in sorted(_descriptors() - before.descriptors):
        if not target.startswith(HARMLESS_TARGETS):
            said.append(f"file descriptor {number} → {target}")
    said += [
        f"process {pid} ({state(pid)}): {command_line(pid) or 'a zombie nobody waited for'}"
        for pid in sorted(left_processes(before, mark))
    ]
    return said


def left_files(temp: Path) -> list[str]:
    """What lies in the test's temporary folder, at most the first ten names."""
    names = sorted(entry.name for entry in temp.iterdir()) if temp.exists() else []
    names = [name for name in names if not name.endswith(MADE_BY_IMPORT)]
    return [f"temporary file {temp / name}" for name in names[:10]]
