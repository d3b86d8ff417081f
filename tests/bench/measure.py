"""A whole benchmark: the order of its parts, and the results as they stand in the JSON."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tests.bench import fresh, report, scenarios
from tests.bench.peers import load
from tests.bench.plan import Plan
from tests.bench.session import Session

FRESH_BEFORE, SIDE_BY_SIDE, FRESH_AFTER = (
    ("starts",),
    ("cpu", "steps", "growth", "images", "artifacts"),
    ("stopped", "durability"),
)
"""Parts that start processes of their own stand where the peers that are measured side by side do not run."""

PARTS = {
    "starts": fresh.starts,
    "cpu": scenarios.cpu,
    "steps": scenarios.steps,
    "growth": scenarios.growth,
    "images": scenarios.images,
    "artifacts": scenarios.artifacts,
    "stopped": fresh.stopped,
    "durability": fresh.durability,
}


def ordered(found: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """In the order of the peers: who had the first turn is told by nothing."""
    return {name: found[name] for name in names if name in found}


def measure(plan: Plan, names: Sequence[str], pip_arguments: str = "", only: str = "") -> dict[str, Any]:
    """Everything of a plan. `only` keeps the scenarios and parts whose name has it."""
    results: dict[str, Any] = {
        "mode": plan.mode,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": report.machine(),
        "scenarios": [{"name": one.name, "title": one.title, "period_ns": one.period_ns} for one in plan.calls],
        "artifact_mb": plan.artifact_mb,
        "titles": {name: load(name).title for name in names},
        "names": {name: load(name).name for name in names},
        "calls": {},
        **{part: {} for part in PARTS},
    }
    with tempfile.TemporaryDirectory(prefix="td-bench-", ignore_cleanup_errors=True) as scratch:
        session = Session(names, Path(scratch), pip_arguments)
        begun_s = time.monotonic()

        def run(parts: Sequence[str]) -> None:
            for part in parts:
                if only in part:
                    print(f"{time.monotonic() - begun_s:4.0f} s  {part}", flush=True)
                    results[part] = ordered(PARTS[part](session, plan), names)

        with session:
            run(FRESH_BEFORE)
            session.open()
            for one in plan.calls:
                if only in one.name:
                    print(f"{time.monotonic() - begun_s:4.0f} s  {one.name}", flush=True)
                    results["calls"][one.name] = ordered(scenarios.calls(session, one), names)
            run(SIDE_BY_SIDE)
            session.close()
            run(FRESH_AFTER)
            if "client" in session.pythons:
                session.daemon.stop()
        results["took_s"] = time.monotonic() - begun_s
    return results | {
        "versions": session.versions,
        "absent": session.absent,
        "left_out": session.left_out,
        "last_words": session.last_words,
    }
