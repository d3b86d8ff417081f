"""What `init` itself says of the process: names, and what costs nothing. The rest is `client.facts`' to look up, later.

What cannot be told is absent.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from client.util import generate_id


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
    """What a process knows of itself without looking at a file, under the names of RunSpec.metadata."""
    facts: dict[str, Any] = {
        "program": _program(),
        "program_abspath": _program_path(),
        "args": sys.argv[1:],
        "cwd": os.getcwd(),  # noqa: PTH109 - Path.cwd() is the same call
        "host": os.uname().nodename,
        "executable": sys.executable or None,
        "pid": os.getpid(),
        "environ": {name: os.environ[name] for name in _TOLD_VARIABLES if name in os.environ} or None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def git_root(folder: Path) -> Path | None:
    """The working tree that holds `folder`."""
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return candidate
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
