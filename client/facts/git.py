"""The git state of a folder. Commit and remote are read from git's files, without running anything; changes are told by
`git diff`, which is what W&B stores as diff.patch.
"""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import threading
import time
from pathlib import Path

from client.limits import FACT_FILE_MAX_BYTES, GIT_POLL_S, GIT_TIMEOUT_S

_GIT_FILE_MAX_BYTES = 4 << 20


class TooLargeError(Exception):
    """A command wrote more than was asked for."""


def git_commit(root: Path) -> str | None:
    """The commit checked out."""
    git = _git_folder(root)
    head = _read(git / "HEAD") if git else None
    if git is None or head is None:
        return None
    if not head.startswith("ref: "):
        return head
    return _commit_of(git, head.removeprefix("ref: "))


def _commit_of(git: Path, name: str) -> str | None:
    common = _common_folder(git)
    for place in (git, common):
        if commit := _read(place / name):
            return commit
    for line in (_read(common / "packed-refs") or "").splitlines():
        commit, _, packed = line.partition(" ")
        if packed == name:
            return commit
    return None


def git_remote_url(root: Path, remote: str = "origin") -> str | None:
    """Where the repository comes from, without a password or token that the URL may hold."""
    git = _git_folder(root)
    text = _read(_common_folder(git) / "config") if git else None
    if text is None:
        return None
    import configparser  # on the thread that gathers, and not with every start

    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        parser.read_string("\n".join(line.strip() for line in text.splitlines()))
        url = parser.get(f'remote "{remote}"', "url")
    except configparser.Error:
        return None
    return re.sub(r"(?<=://)[^/@]*@", "", url)


def patches(folder: Path, give_up: threading.Event) -> dict[str, bytes]:
    """What was changed since the commit, as wandb names it: `diff.patch`, and `diff_<commit>.patch` since the commit
    that the branch follows, where it follows one. Empty ones are left out.

    Raises OSError, TooLargeError, and TimeoutError, also when `give_up` is set meanwhile; git is killed then.
    """
    found = {"diff.patch": _git(folder, give_up, "diff", "HEAD", "--submodule=diff")}
    upstream = _git(folder, give_up, "rev-parse", "@{upstream}").decode(errors="replace").strip()
    if upstream:
        found[f"diff_{upstream}.patch"] = _git(folder, give_up, "diff", "@{upstream}", "--submodule=diff")
    return {name: patch for name, patch in found.items() if patch}


def _git(folder: Path, give_up: threading.Event, *arguments: str) -> bytes:
    """What git says; nothing where it fails (no commit yet, no upstream) or is not there."""
    environ = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        process = subprocess.Popen(
            ["git", *arguments],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        return b""
    assert process.stdout is not None
    try:
        said = _read_all(process.stdout.fileno(), give_up)
        return said if process.wait(GIT_TIMEOUT_S) == 0 else b""
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"git {arguments[0]} did not end") from None
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def _read_all(descriptor: int, give_up: threading.Event) -> bytes:
    deadline_s = time.monotonic() + GIT_TIMEOUT_S
    chunks: list[bytes] = []
    size = 0
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if give_up.is_set() or time.monotonic() >= deadline_s:
                raise TimeoutError("git takes too long: what was changed is left out")
            if not selector.select(GIT_POLL_S):
                continue
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                return b"".join(chunks)
            size += len(chunk)
            if size > FACT_FILE_MAX_BYTES:
                raise TooLargeError(f"git diff is larger than {FACT_FILE_MAX_BYTES} bytes")
            chunks.append(chunk)


def _git_folder(root: Path) -> Path | None:
    git = root / ".git"
    if git.is_dir():
        return git
    pointer = _read(git) or ""
    return (root / pointer.removeprefix("gitdir: ")) if pointer.startswith("gitdir: ") else None


def _common_folder(git: Path) -> Path:
    common = _read(git / "commondir")
    return git / common if common else git


def _read(path: Path) -> str | None:
    try:
        if path.stat().st_size > _GIT_FILE_MAX_BYTES:
            return None
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
