"""Builds the compiled parts of the client (client/_fastlog.c, client/_scalars.c) beside their sources, if that can be.

They are optional: without a C compiler or Python's headers the installation succeeds and `log` runs in Python;
`telemetryd doctor` says which of the two it is. TELEMETRYD_PURE_PYTHON=1 leaves them out.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = ("client/_fastlog.c", "client/_scalars.c")
FLAGS = ("-O2", "-fPIC", "-shared", "-Wall", "-Wextra")
LONGEST_S = 120


def targets() -> list[str]:
    """The files that this Python imports as client._fastlog and client._scalars, in the order of SOURCES."""
    return [source.removesuffix(".c") + str(sysconfig.get_config_var("EXT_SUFFIX")) for source in SOURCES]


def compile_to(root: Path) -> str | None:
    """Compile all; returns why that could not be, None when it is done. What was there is replaced or removed."""
    trouble: str | None = "TELEMETRYD_PURE_PYTHON is set"
    if os.environ.get("TELEMETRYD_PURE_PYTHON", "") in ("", "0"):
        troubles = [_compile(root / source, root / target) for source, target in zip(SOURCES, targets(), strict=True)]
        trouble = next((trouble for trouble in troubles if trouble is not None), None)
    if trouble is not None:  # all or none: client/fastlog.py takes them together
        for target in targets():
            (root / target).unlink(missing_ok=True)
    return trouble


def _compile(source: Path, output: Path) -> str | None:
    compiler = shlex.split(os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc"))
    fresh = output.with_suffix(f".{os.getpid()}")
    command = [*compiler, *FLAGS, f"-I{sysconfig.get_path('include')}", str(source), "-o", str(fresh)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
        if ran.returncode == 0:
            fresh.replace(output)
            return None
        return ran.stderr.strip().partition("\n")[0] or f"{compiler[0]} exited with {ran.returncode}"
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    finally:
        fresh.unlink(missing_ok=True)


class FastLogHook(BuildHookInterface):  # type: ignore[type-arg]
    """What hatchling calls before it builds a wheel, an editable one too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; a wheel with the result is this platform's and this Python's."""
        trouble = compile_to(Path(self.root))
        if trouble is None:
            build_data["artifacts"].extend(targets())
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
        else:
            self.app.display_warning(f"client.log will run in Python, a few times slower than compiled: {trouble}")
