"""An environment for each tracker that is not ours or wandb: .venv-bench/NAME, made once.

What the project's own environment has (numpy, torch and so on) is shared by a .pth file and not installed again: pip
installs only what is lacking or has another version. A stamp holds the requirement that the environment was made for.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.bench.peers import load

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements" / "bench.txt"
FOLDER = ROOT / ".venv-bench"
STAMP = "bench.stamp"
INSTALL_DEADLINE_S = 600.0


class AbsentError(Exception):
    """A peer that cannot be measured here; the message says why."""


def requirement(name: str, lines: str | None = None) -> str | None:
    """The line of requirements/bench.txt for a peer, None for one that lives in the project's environment."""
    wanted = load(name).requirement
    if wanted is None:
        return None
    for line in (REQUIREMENTS.read_text() if lines is None else lines).splitlines():
        if line.split("==")[0].strip() == wanted:
            return line.strip()
    raise AbsentError(f"{wanted} is not in {REQUIREMENTS.name}")


def interpreter(name: str, pip_arguments: str = "", folder: Path = FOLDER) -> str:
    """The Python that has the peer, installed now if it is not yet. Raises AbsentError when it cannot be."""
    line = requirement(name)
    if line is None:
        return sys.executable
    place = folder / name
    python, stamp = place / "bin" / "python", place / STAMP
    wanted = f"{line}\n{sys.version}\n"
    if stamp.exists() and stamp.read_text() == wanted:
        return str(python)
    print(f"Installing {line} into {place} …", flush=True)
    shutil.rmtree(place, ignore_errors=True)
    _run(sys.executable, "-m", "venv", str(place))
    site = place / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "telemetryd-shared.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         *shlex.split(pip_arguments), line)  # fmt: skip
    stamp.write_text(wanted)
    return str(python)


def version(distribution: str, python: str) -> str:
    """The version of a package in an environment."""
    code = f"from importlib.metadata import version; print(version({distribution!r}))"
    return _run(python, "-c", code).strip()


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_DEADLINE_S, check=False)
    except subprocess.TimeoutExpired:
        raise AbsentError(f"`{' '.join(command[1:4])}` took more than {INSTALL_DEADLINE_S:g} s") from None
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise AbsentError(told[-1].strip() if told else f"exit {done.returncode}")
    return done.stdout
