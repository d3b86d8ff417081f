"""A checkpoint of gigabytes saved over the same path, with telemetryd and with wandb, against the stand-in.

    python -m tests.bench.artifacts [--size 2GiB] [--saves 3] [--period 3] [--out bench-out/artifacts.md]

Each tracker's training runs in a process of its own, one after the other; the table says what the calls cost, and that
every version holds what was saved. The disk takes some six checkpoints: the stand-in keeps their digests alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from client.amounts import format_bytes, size_bytes
from tests.standin.client import Standin
from tests.standin.fixture import running
from tests.support.world import World

LOOP = Path(__file__).parents[1] / "support" / "checkpoint_loop.py"


def loop(world: World, tracker: str, size: int, saves: int, period_s: float, timeout_s: float = 1800) -> dict[str, Any]:
    """What one training measured. Raises AssertionError with its output when it fails."""
    work = world.folder / f"work-{tracker}"
    work.mkdir(exist_ok=True)
    data = {f"WANDB_{name}_DIR": str(work / name.lower()) for name in ("DATA", "CACHE", "CONFIG")}
    done = subprocess.run(
        [sys.executable, LOOP, tracker, str(size), str(saves), str(period_s)],
        cwd=work,
        env=os.environ | world.environment | data | {"PYTHONPATH": str(LOOP.parents[2]), "WANDB_SILENT": "true"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{world.worker_logs()}"
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def check(standin: Standin, tracker: str, measured: dict[str, Any]) -> None:
    """Every save is a version, none of them torn, in the order of the saves."""
    found = [a for a in standin.artifacts() if a["name"] == f"ckpt-{tracker}" and a["state"] == "COMMITTED"]
    digests = [a["contents"]["checkpoint.pt"]["digest"] for a in sorted(found, key=lambda a: a["version"])]
    assert digests == measured["saved"]
    assert [version for version, _ in measured["versions"]] == [f"v{n}" for n in range(len(digests))]


def quantile(values: list[float], share: float) -> float:
    """The value that so large a part is not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def row(name: str, measured: dict[str, Any]) -> str:
    """A line of the table; milliseconds."""
    calls = [1e3 * took for took in measured["own_calls_s"]]
    logs = [took / 1e6 for took in measured["own_ns"]]
    first, rest = calls[0], max(calls[1:], default=calls[0])
    staged = f"{1e3 * max(measured['staged_s']):.1f}" if measured["staged_s"] else "–"
    return (
        f"| {name} | {first:.1f} | {rest:.1f} | {staged} | {quantile(logs, 0.5):.3f} | {quantile(logs, 0.999):.3f} |"
        f" {max(logs):.1f} | {len(logs):,} |"
    )


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(prog="tests.bench.artifacts", description=__doc__)
    parser.add_argument("--size", default="2GiB")
    parser.add_argument("--saves", type=int, default=3)
    parser.add_argument("--period", type=float, default=3.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    size = size_bytes(options.size, 4)
    lines = [
        f"Checkpoints of {format_bytes(size)}, {options.saves} saves over one path by `torch.save`, a save every"
        f" {options.period:g} s, 500 `log` calls a second in between; milliseconds, without the time in which other"
        " processes had the cores.",
        "",
        "| tracker | first `Artifact` + `add_file` + `log_artifact` | slowest of the others | waited for staging at the"
        " next save, at most | `log` median | p99.9 | max | calls |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory(prefix="tb-", dir="/tmp") as folder, running(forgets=True) as standin:
        world = World(Path(folder), standin=standin)
        world.start_daemon()
        try:
            for tracker, name in (("client", "telemetryd"), ("wandb", "wandb")):
                measured = loop(world, tracker, size, options.saves, options.period)
                check(standin, tracker, measured)
                lines.append(row(name, measured))
                shutil.rmtree(world.folder / f"work-{tracker}")
        finally:
            world.close()
    text = "\n".join(lines)
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
