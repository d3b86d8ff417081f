"""What is measured with the peers open side by side; each scenario gives name → figures, as the JSON has them."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from array import array
from pathlib import Path
from typing import Any

from tests.bench import blocks
from tests.bench.cpu import come_to_rest, process_s
from tests.bench.figures import Samples, figures, slowdown_percent, spread
from tests.bench.peers.base import ARTIFACT, GROWTH, IMAGE, SCALARS
from tests.bench.plan import STEP_S, WARM_UP_CALLS, Calls, Plan
from tests.bench.runner import Runner
from tests.bench.session import Session

Figures = dict[str, dict[str, Any]]

LEAST_CALLS, LEAST_STEPS = 10, 20
"""Of a block, of a peer whose share of the calls is small."""

LEAST_WARM_UP = 2
"""Where rows are large, ten of them would be a block of their own."""

IMAGE_SIDE = 512
IDLE_SHARE = 0.15
"""Of a core: what a daemon's sampling may use without counting as work."""

BACKLOG_DEADLINE_S = 60.0
"""What a peer may take to work off a block of thousands of rows, or to stage an artifact."""


def calls(session: Session, one: Calls) -> Figures:
    """Every call timed by itself."""
    samples: dict[str, Samples] = {}
    can = SCALARS if one.kind != "floats" else ""
    for number, take in session.turns(one.rounds, one.title, can):

        def block(runner: Runner, number: int = number) -> None:
            count = max(LEAST_CALLS, int(one.calls * runner.peer.calls_share))
            taken = runner.calls(count, number + 1, one.kind, one.period_ns, WARM_UP_CALLS, one.contended)
            samples.setdefault(runner.name, Samples()).add(*taken)

        take(block)
    found = {name: figures(of_peer) for name, of_peer in samples.items()}
    if one.contended:
        for of_peer in found.values():
            of_peer["cpu_us"] = None  # it is the other thread's
    return found


def cpu(session: Session, plan: Plan) -> Figures:
    """CPU per row: of the training process, and of all processes of the tracker, until the last row is worked off.

    From the first row until the peer's processes are at rest again. What they use when nothing is logged is taken off.
    """
    taken: dict[str, list[tuple[float, float, int]]] = {}
    for number, take in session.turns(plan.cpu_rounds, "CPU per row"):

        def measure(runner: Runner, number: int = number) -> None:
            rows = max(LEAST_CALLS, int(plan.cpu_rows * runner.peer.calls_share))
            runner.ask("prepare", rows, number + 1, "floats")
            come_to_rest([runner.tree], plan.cpu_quiet_s, IDLE_SHARE, BACKLOG_DEADLINE_S)
            start = _used(runner)
            time.sleep(plan.cpu_quiet_s)
            before = _used(runner)
            runner.ask("untimed")
            come_to_rest([runner.tree], plan.cpu_quiet_s, IDLE_SHARE, BACKLOG_DEADLINE_S)
            after = _used(runner)
            share = (after[2] - before[2]) / (before[2] - start[2])
            process_us, tree_us = (
                max(0.0, (after[index] - before[index]) - share * (before[index] - start[index])) / rows * 1e6
                for index in (0, 1)
            )
            taken.setdefault(runner.name, []).append((process_us, tree_us, rows))

        take(measure)
    return {
        name: {
            "process_us": statistics.median(process for process, _, _ in rounds),
            "tree_us": statistics.median(tree for _, tree, _ in rounds),
            "process_us_over_rounds": spread([process for process, _, _ in rounds]),
            "tree_us_over_rounds": spread([tree for _, tree, _ in rounds]),
            "rows": sum(rows for _, _, rows in rounds),
            "rounds": len(rounds),
        }
        for name, rounds in taken.items()
    }


def _used(runner: Runner) -> tuple[float, float, float]:
    """(CPU of the process, CPU of its tree, the time), all in seconds."""
    return process_s(runner.process.pid) or 0.0, runner.tree.used_s(), time.monotonic()


def steps(session: Session, plan: Plan) -> Figures:
    """By how much a training step of a millisecond becomes longer when it logs once."""
    turns = blocks.turns_of(STEP_S)
    pairs: dict[str, list[tuple[int, int]]] = {}
    for number, take in session.turns(plan.step_rounds, "slowdown of a step"):

        def measure(runner: Runner, number: int = number) -> None:
            count = max(LEAST_STEPS, int(plan.steps * plan.step_pairs * runner.peer.calls_share))
            runner.ask("prepare", count, number + 1, "floats")
            pairs.setdefault(runner.name, []).extend(runner.ask("steps", turns, plan.step_pairs))

        take(measure)
    return {
        name: {"slowdown_percent": slowdown_percent(of_peer), "blocks": len(of_peer)} for name, of_peer in pairs.items()
    }


def growth(session: Session, plan: Plan) -> Figures:
    """What a call costs by the number of its keys and by its size: figures by peer and kind of row."""
    samples: dict[str, dict[str, Samples]] = {}
    for kind in plan.growth:
        for number, take in session.turns(plan.growth_rounds, f"growth, {kind}", GROWTH):

            def block(runner: Runner, number: int = number, kind: str = kind) -> None:
                taken = runner.calls(plan.growth_calls, number + 1, kind, warm_up=LEAST_WARM_UP)
                samples.setdefault(runner.name, {}).setdefault(kind, Samples()).add(*taken)

            take(block)
    return {name: {kind: figures(one) for kind, one in of_peer.items()} for name, of_peer in samples.items()}


def images(session: Session, plan: Plan) -> Figures:
    """An image made of an array, and logged; a call at each turn."""
    samples: dict[str, Samples] = {}
    for number, take in session.turns(plan.images + 1, "image", IMAGE):

        def measure(runner: Runner, number: int = number) -> None:
            runner.ask("draw", IMAGE_SIDE, IMAGE_SIDE, number)
            taken_ns = runner.ask("image")
            if number:  # the first one imports what encodes
                samples.setdefault(runner.name, Samples()).blocks.append(array("q", [taken_ns]))

        take(measure)
    return {name: figures(of_peer) for name, of_peer in samples.items()}


def artifacts(session: Session, plan: Plan) -> Figures:
    """A file added to an artifact that is logged; a call at each turn."""
    samples: dict[str, Samples] = {}
    for number, take in session.turns(plan.artifacts, "artifact", ARTIFACT):
        path = session.folder / f"checkpoint-{number}.bin"
        if not path.exists():
            _write(path, plan.artifact_mb)

        def measure(runner: Runner, path: Path = path) -> None:
            taken_ns = runner.ask("artifact", str(path), "checkpoint")
            samples.setdefault(runner.name, Samples()).blocks.append(array("q", [taken_ns]))
            session.rest(window_s=0.5, deadline_s=BACKLOG_DEADLINE_S)

        take(measure)
    for path in session.folder.glob("checkpoint-*.bin"):
        with contextlib.suppress(OSError):
            path.unlink()
    return {name: figures(of_peer) for name, of_peer in samples.items()}


def _write(path: Path, size_mb: int) -> None:
    with path.open("wb") as file:
        for _ in range(size_mb):
            file.write(os.urandom(1_000_000))
        file.flush()
        os.fsync(file.fileno())
