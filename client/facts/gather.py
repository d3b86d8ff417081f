"""Looks up the facts of a process: one Process record out of everything in this package.

Every part that fails is counted and left out; the others are kept.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from client import guard
from client.facts.git import TooLargeError, git_commit, git_remote_url, patches
from client.facts.machine import machine
from client.facts.packages import requirements
from client.limits import FACT_FILE_MAX_BYTES
from client.process_info import git_root
from client.protocol.records import Process


class Gatherer:
    """`known` are the facts that `init` told already, `settings` wandb's by name.

    `code`: keep the program's file, and what was changed since the commit.
    """

    def __init__(self, known: Mapping[str, Any], settings: Mapping[str, Any], *, code: bool) -> None:
        self._known = known
        self._settings = settings
        self._code = code
        self._give_up = threading.Event()

    def give_up(self) -> None:
        """End what takes long: `gather` returns soon, with what it has."""
        self._give_up.set()

    def gather(self) -> Process:
        """Look everything up. Takes as long as git and the disks do."""
        facts: dict[str, Any] = {}
        files: dict[str, bytes] = {}
        _try("facts.program", lambda: facts.update(self.place_program()))
        _try("facts.system", lambda: facts.update(system()))
        if not self._is_set("x_disable_machine_info"):
            _try("facts.machine", lambda: facts.update(machine()))
            if not self._is_set("disable_git"):
                _try("facts.git", lambda: self._look_at_git(facts, files))
        if self._settings.get("x_save_requirements", True):
            _try("facts.packages", lambda: files.update({"requirements.txt": requirements()}))
        if self._code:
            _try("facts.code", lambda: files.update(self._program(facts.get("program_relpath"))))
        facts = {name: value for name, value in facts.items() if value is not None}
        return Process(facts, {name: content for name, content in files.items() if content})

    def _is_set(self, name: str) -> bool:
        return str(self._settings.get(name) or "").lower() in ("1", "true", "yes", "on")

    def _look_at_git(self, facts: dict[str, Any], files: dict[str, bytes]) -> None:
        given = self._settings
        folder = Path(given.get("git_root") or self._known["cwd"])
        root = git_root(folder)
        if root is None:
            return
        facts["git_root"] = str(root)
        facts["git_commit"] = given.get("git_commit") or git_commit(root)
        facts["git_remote_url"] = given.get("git_remote_url") or git_remote_url(
            root, given.get("git_remote") or "origin"
        )
        if self._code:  # as wandb: changes are code
            files.update(patches(folder, self._give_up))

    def place_program(self) -> dict[str, Any]:
        """Where the program's file lies in its repository, or below the working directory, as wandb tells it."""
        given, folder = self._settings, Path(self._known["cwd"])
        path = folder / str(given.get("program") or self._known.get("program") or "")
        if not path.is_file():
            return {"program_relpath": given.get("program_relpath")}
        root = (None if self._is_set("disable_git") else git_root(folder)) or folder
        path = Path(os.path.abspath(path))  # noqa: PTH100 - without following links, as wandb
        places = [str(path.relative_to(base)) if path.is_relative_to(base) else None for base in (root, folder)]
        return {"program_relpath": given.get("program_relpath") or places[0], "program_local": places[1]}

    def _program(self, name: str | None) -> dict[str, bytes]:
        path = self._settings.get("program_abspath") or self._known.get("program_abspath")
        if not path or not name:
            return {}
        with open(path, "rb") as stream:  # noqa: PTH123 - a str as it came
            content = stream.read(FACT_FILE_MAX_BYTES + 1)
        if len(content) > FACT_FILE_MAX_BYTES:
            raise TooLargeError(f"{path} is larger than {FACT_FILE_MAX_BYTES} bytes")
        return {f"code/{name}": content}


def system() -> dict[str, Any]:
    """The interpreter and the operating system, as wandb writes them."""
    return {
        "os": platform.platform(aliased=True),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _try(where: str, look: Callable[[], object]) -> None:
    try:
        look()
    except Exception as error:  # noqa: BLE001 - whatever it was, training must not notice
        guard.swallow(where, error)
