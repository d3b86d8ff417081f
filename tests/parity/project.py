"""A script's project as a user would have it: a git repository with a remote, a changed file and an untracked one.

Made once for each script and copied for each of its runs, so that every run sees the same commit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

PROGRAM = "train.py"
ARGUMENTS = ("--lr", "0.1")
REMOTE = "https://github.com/example/project.git"
_WHO = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main", "-c", "gc.auto=0")
_WHEN = {"GIT_AUTHOR_DATE": "2024-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2024-01-01T00:00:00Z"}


def make(folder: Path, script: Path) -> Path:
    """The project of a script, which is its `train.py`."""
    folder.mkdir(parents=True)
    shutil.copyfile(script, folder / PROGRAM)
    helper = folder / "helper.py"
    helper.write_text("RATE = 1\n")
    git(folder, "init", "--quiet", "--template=")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "Begin")
    git(folder, "remote", "add", "origin", REMOTE)
    helper.write_text("RATE = 2\n")
    (folder / "untracked.txt").write_text("not in git\n")
    return folder


def copy(project: Path, to: Path) -> Path:
    """A copy of it, times of files included: git would otherwise look at each again."""
    shutil.copytree(project, to)
    return to


def git(folder: Path, *arguments: str) -> None:
    """One git command in a folder. Raises CalledProcessError."""
    subprocess.run(
        ["git", *_WHO, *arguments], cwd=folder, env=os.environ | _WHEN, check=True, capture_output=True, timeout=30
    )
