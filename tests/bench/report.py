"""Turns samples into figures, a Markdown table and JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from array import array
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench.faults import Found
from tests.bench.faults import markdown as fault_table
from tests.bench.measure import Runner, Samples
from tests.bench.units import duration

TABLE_HEAD = """| call | median | p99 | p99.9 | max | CPU per call | calls |
|---|---:|---:|---:|---:|---:|---:|"""


def quantile(ordered: array[int], share: float) -> int:
    """The smallest sample that at least `share` of all samples do not exceed."""
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * round(share * 10_000) // 10_000) - 1))]


def figures(samples: Samples) -> dict[str, float]:
    """Microseconds per call, and how many calls there were."""
    ordered = array("q", sorted(samples.calls_ns))
    return {
        "median_us": quantile(ordered, 0.5) / 1e3,
        "p99_us": quantile(ordered, 0.99) / 1e3,
        "p99.9_us": quantile(ordered, 0.999) / 1e3,
        "max_us": ordered[-1] / 1e3,
        "cpu_us": samples.cpu_s / len(ordered) * 1e6,
        "calls": len(ordered),
    }


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


def markdown(runners: list[Runner], scenarios: dict[str, str], faults: list[Found], where: dict[str, Any]) -> str:
    """The tables, one per scenario and one for the faults, and what the machine was."""
    lines = []
    for scenario, title in scenarios.items():
        lines += [f"**{title}**", "", TABLE_HEAD]
        for runner in runners:
            found = figures(runner.samples[scenario])
            cells = [duration(found[key]) for key in ("median_us", "p99_us", "p99.9_us", "max_us", "cpu_us")]
            lines.append(f"| {runner.title} | {' | '.join(cells)} | {found['calls']:,} |")
        lines.append("")
    lines += ["**Faults**", "", fault_table(faults)]
    lines.append(
        f"{where['cores']} cores of {where['cpu']}, Python {where['python']}, wandb {where['wandb']},"
        f" telemetryd {where['telemetryd']}. CPU per call is that of the whole training process,"
        " its background threads included."
    )
    lines += [f"{runner.title}: {runner.last_word}." for runner in runners if runner.last_word]
    return "\n".join(lines) + "\n"


def write(
    out: Path, runners: list[Runner], scenarios: dict[str, str], faults: list[Found], where: dict[str, Any]
) -> str:
    """Writes log_latency.md and log_latency.json to `out`; returns the Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    text = markdown(runners, scenarios, faults, where)
    (out / "log_latency.md").write_text(text)
    found = {runner.name: {name: figures(samples) for name, samples in runner.samples.items()} for runner in runners}
    (out / "log_latency.json").write_text(
        json.dumps({"machine": where, "figures": found, "faults": [asdict(one) for one in faults]}, indent=2) + "\n"
    )
    return text
