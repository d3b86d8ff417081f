"""What is known of the training process without running anything: program, host, git.

Git is read from its files, because starting `git` would cost milliseconds in `init` and may hang on a network disk.
What cannot be told is absent.
"""

from __future__ import annotations

import configparser
import os
import platform
import re
import socket
import sys
from pathlib import Path
from typing import Any

from client.util import generate_id

_GIT_FILE_MAX_BYTES = 4 << 20


def new_run_id() -> str:
    """A run's id as wandb makes it: 8 characters of a-z and 0-9."""
    return generate_id()


def project_name(environ_program: str | None = None) -> str:
    """The project wandb would name: the git repository and the program's folder in it, else "uncategorized"."""
    root = git_root(Path.cwd())
    if root is None:
        return "uncategorized"
    program = environ_program or _program()
    if program is None:
        return root.name
    folder = Path(program).absolute().parent
    if not folder.is_relative_to(root) or folder == root:
        return root.name
    return f"{root.name}-{folder.relative_to(root)}".replace(os.sep, "_")


def program_key() -> str:
    """What tells one program of a job from another, alike on every node: its path below the working directory."""
    path = _program_path()
    if path is None or (main := sys.modules.get("__main__")) is None:
        return ""
    if getattr(main, "__spec__", None) is not None:
        return _program() or ""
    return Path(path).name


_TOLD_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "GROUP_WORLD_SIZE",
    "SLURM_NNODES",
    "SLURMD_NODENAME",
)
"""Variables of this process that say which GPUs are its own and how many nodes its job has. They are read here, because
a program may set them itself, which nobody sees from outside."""


def metadata() -> dict[str, Any]:
    """Facts about this process, under wandb's setting names where it has one."""
    facts: dict[str, Any] = {
        "program": _program(),
        "program_abspath": _program_path(),
        "args": sys.argv[1:],
        "cwd": os.getcwd(),  # noqa: PTH109 - Path.cwd() is the same call
        "host": socket.gethostname(),
        "x_executable": sys.executable or None,
        "python": platform.python_version(),
        "os": platform.platform(aliased=True),
        "pid": os.getpid(),
        "environ": {name: os.environ[name] for name in _TOLD_VARIABLES if name in os.environ} or None,
    }
    root = git_root(Path.cwd())
    if root is not None:
        facts.update(git_root=str(root), git_commit=git_commit(root), git_remote_url=git_remote_url(root))
        facts["program_relpath"] = _below(facts["program_abspath"], root)
    return {name: value for name, value in facts.items() if value is not None}


def git_root(folder: Path) -> Path | None:
    """The working tree that holds `folder`."""
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return candidate
    return None


def git_commit(root: Path) -> str | None:
    """The commit checked out."""
    git = _git_folder(root)
    head = _read(git / "HEAD") if git else None
    if git is None or head is None:
        return None
    if not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
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
    """Where the repository comes from, without a password that the URL may hold."""
    git = _git_folder(root)
    text = _read(_common_folder(git) / "config") if git else None
    if text is None:
        return None
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        parser.read_string("\n".join(line.strip() for line in text.splitlines()))
        url = parser.get(f'remote "{remote}"', "url")
    except configparser.Error:
        return None
    return re.sub(r"(?<=://)[^/@]*@", "", url)


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


def _program() -> str | None:
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return f"-m {spec.name}"
    return getattr(main, "__file__", None)


def _program_path() -> str | None:
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return str(Path(path).absolute()) if path else None


def _below(path: str | None, root: Path) -> str | None:
    if path is None or not Path(path).is_relative_to(root):
        return None
    return str(Path(path).relative_to(root))
