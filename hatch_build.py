"""Builds the compiled part of the client (client/_fastlog.c) beside its source, where that can be done.

It is optional: without a C compiler or Python's headers the installation succeeds and `log` runs in Python; `telemetryd
doctor` says which of the two it is. TELEMETRYD_PURE_PYTHON=1 leaves it out.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "client/_fastlog.c"
FLAGS = ("-O2", "-fPIC", "-shared", "-Wall", "-Wextra")
LONGEST_S = 120


def target() -> str:
    """The file that this Python imports as client._fastlog."""
    return SOURCE.removesuffix(".c") + str(sysconfig.get_config_var("EXT_SUFFIX"))


def compile_to(root: Path) -> str | None:
    """Compile it; returns why that could not be, None when it is done. What was there before is replaced or removed."""
    output = root / target()
    if os.environ.get("TELEMETRYD_PURE_PYTHON", "") not in ("", "0"):
        output.unlink(missing_ok=True)
        return "TELEMETRYD_PURE_PYTHON is set"
    compiler = shlex.split(os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc"))
    fresh = output.with_suffix(f".{os.getpid()}")
    command = [*compiler, *FLAGS, f"-I{sysconfig.get_path('include')}", str(root / SOURCE), "-o", str(fresh)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
        if ran.returncode == 0:
            fresh.replace(output)
            return None
        trouble = ran.stderr.strip().partition("\n")[0] or f"{compiler[0]} exited with {ran.returncode}"
    except (OSError, subprocess.SubprocessError) as error:
        trouble = str(error)
    finally:
        fresh.unlink(missing_ok=True)
    output.unlink(missing_ok=True)
    return trouble


class FastLogHook(BuildHookInterface):  # type: ignore[type-arg]
    """What hatchling calls before it builds a wheel, an editable one too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; a wheel with the result is this platform's and this Python's."""
        trouble = compile_to(Path(self.root))
        if trouble is None:
            build_data["artifacts"].append(target())
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
        else:
            self.app.display_warning(f"client.log will run in Python, a few times slower than compiled: {trouble}")
