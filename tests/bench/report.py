"""The results as Markdown and JSON. Pure but for `machine` and `write`."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench import sections

Results = dict[str, Any]

JSON, MARKDOWN = "bench.json", "bench.md"


def machine() -> dict[str, Any]:
    """Where the numbers were taken."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "cpu": models[0].split(":", 1)[1].strip() if models else platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or None,
        "load_before": os.getloadavg()[0],
        **{name: version(name) for name in ("telemetryd", "wandb", "msgspec", "pyzmq")},
    }


def markdown(results: Results) -> str:
    """The summary and all tables."""
    lines = ["# What logging costs, side by side", ""]
    if results["mode"] != "full":
        lines += ["A quick run: it shows that everything works and roughly where it stands, not how fast it is.", ""]
    return "\n".join([*lines, *sections.summary(results), *sections.everything(results)]) + "\n"


def write(out: Path, results: Results) -> str:
    """Writes bench.md and bench.json to `out`; returns the Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    text = markdown(results)
    (out / MARKDOWN).write_text(text)
    (out / JSON).write_text(json.dumps(results, indent=1) + "\n")
    return text
