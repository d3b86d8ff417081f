"""The machine that training runs on, from what the kernel and its drivers tell in files; nothing is loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SYS_CPU = Path("/sys/devices/system/cpu")
_NVIDIA = Path("/proc/driver/nvidia/gpus")
_HEAD_BYTES = 4096


def machine(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Counts and names: `cpu_count` (cores), `cpu_count_logical`, `cpu_model`, `memory_bytes`, `gpu_count`, `gpu_type`,
    `slurm` (Slurm's variables without their prefix)."""
    logical = os.cpu_count()
    gpus = gpu_models()
    slurm = {name[6:].lower(): value for name, value in environ.items() if name.startswith("SLURM_")}
    return {
        "cpu_count": core_count() or logical,
        "cpu_count_logical": logical,
        "cpu_model": _field("/proc/cpuinfo", "model name"),
        "memory_bytes": memory_bytes(),
        "gpu_count": len(gpus) or None,
        "gpu_type": gpus[0] if gpus else None,
        "slurm": slurm or None,
    }


def core_count(folder: Path = _SYS_CPU) -> int | None:
    """Physical cores: processors that share one count once."""
    cores = set()
    for processor in folder.glob("cpu[0-9]*"):
        siblings = _read(processor / "topology" / "thread_siblings_list")
        if siblings is not None:
            cores.add(siblings)
    return len(cores) or None


def memory_bytes() -> int | None:
    """The machine's memory."""
    total = re.match(r"(\d+) kB", _field("/proc/meminfo", "MemTotal") or "")
    return int(total[1]) * 1024 if total else None


def gpu_models(folder: Path = _NVIDIA) -> list[str]:
    """The model of each NVIDIA GPU that this machine, or container, has."""
    try:
        places = sorted(folder.iterdir())
    except OSError:
        return []
    models = (_field(place / "information", "Model") for place in places)
    return [model for model in models if model is not None]


def _field(path: str | Path, name: str) -> str | None:
    """A "name: value" line of one of the kernel's files, looked for in its beginning."""
    text = _read(Path(path)) or ""
    found = re.search(rf"^{re.escape(name)}\s*:\s*(.+)$", text, re.M)
    return found[1].strip() if found else None


def _read(path: Path) -> str | None:
    try:
        with path.open("rb", buffering=0) as stream:
            return stream.read(_HEAD_BYTES).decode("utf-8", errors="replace").strip()
    except OSError:
        return None
