"""The demo under real torchrun: four processes that train one network, in every policy and with a group.

Its seeds make each rank's losses the same in every start, so the series of the policy "all" tell exactly what the rows
of the others must be.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pytest

from telemetryd.runs.wandb_file import history_rows
from tests.support.processes import spawn, wait_until
from tests.support.requirements import require_module
from tests.support.world import World

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.leaves_files("a world ends by SIGKILL, amid whatever its worker does"),
    pytest.mark.timeout(900),
]
DEMO = Path(__file__).parents[2] / "deploy" / "examples" / "train_digits.py"
JOB_DEADLINE_S = 200.0
RANKS = 4
BATCHES = 12
"""Of one epoch on each rank: 1437 // 4 digits, 32 at a time. One row each, one of the validation, and the last."""
TRAIN = ("train/loss", "train/accuracy", "train/grad_norm", "train/learning_rate")
VALIDATION = ("val/loss", "val/accuracy")
Rows = list[dict[str, Any]]


@pytest.fixture
def world(short_path: Path) -> Iterator[World]:
    require_module("torch.distributed.run")
    require_module("sklearn")
    made = World(short_path)
    made.start_daemon()
    yield made
    made.close()


def torchrun(world: World, name: str, **environment: str) -> tuple[list[dict[str, Any]], list[Rows]]:
    """Train for one epoch: the runs in `status` and their rows."""
    own = {"OMP_NUM_THREADS": "1", "WANDB_DIR": str(world.folder / name)} | environment
    Path(own["WANDB_DIR"]).mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={RANKS}", "--standalone"]
    job = spawn([*command, DEMO, "--epochs", "1"], world.folder / f"{name}-job", env=world.environment | own)
    assert job.wait(JOB_DEADLINE_S) == 0, job.told()
    found: dict[str, Any] = {}

    def over() -> bool:
        found.clear()
        found.update(world.status() or {})
        return not found["pending"] and all(run["state"] == "finished" for run in found["runs"])

    wait_until(over, 90, lambda: f"the end of {name}; {json.dumps(found)[:2000]}\n{job.told()}", poll_s=0.2)
    runs = [run for run in found["runs"] if (run["directory"] or "").startswith(own["WANDB_DIR"])]
    files = [next(Path(run["directory"]).glob("*.wandb")) for run in runs]
    return runs, [[row for _, row in history_rows(file)] for file in files]


def assert_is_rank_zeros_history(rows: Rows) -> None:
    assert len(rows) == BATCHES + 2
    assert [row["_step"] for row in rows] == list(range(BATCHES + 2))
    assert [row.get("global_step") for row in rows[:-1]] == [*range(1, BATCHES + 1), BATCHES]
    assert all(row.keys() >= set(TRAIN) for row in rows[:BATCHES])
    assert rows[BATCHES].keys() >= set(VALIDATION)


def numbers(rows: Rows, prefix: str = "") -> list[dict[str, float]]:
    """Of every row what training logged, under its own names."""
    names = ("global_step", "epoch", *TRAIN, *VALIDATION)
    return [{name: row[prefix + name] for name in names if prefix + name in row} for row in rows]


def test_the_demo_on_four_processes_is_one_run_in_every_policy_and_four_of_a_group(world: World) -> None:
    (run,), (rows,) = torchrun(world, "all", TELEMETRYD_RANKS="all")
    assert_is_rank_zeros_history(rows)
    calls = RANKS * (BATCHES + 2)
    assert (run["offered"], run["delivered"], run["dropped"]) == (calls, calls, {})
    of_rank = [numbers(rows, f"rank{rank}/") for rank in range(RANKS)]
    assert of_rank[0] == numbers(rows), "the main rank's values stand under their own names besides"
    losses = [[row["train/loss"] for row in own[:BATCHES]] for own in of_rank]
    assert all(one != other for one in losses for other in losses if one is not other), "each has digits of its own"
    assert [own[BATCHES] for own in of_rank] == [of_rank[0][BATCHES]] * RANKS, "and the same weights as the others"
    assert {f"rank{rank}/{name}" for rank in range(RANKS) for name in ("predictions", "mistakes")} <= rows[-1].keys()

    (run,), (rows,) = torchrun(world, "main")
    assert_is_rank_zeros_history(rows)
    assert numbers(rows) == of_rank[0]
    assert not any("rank" in key for row in rows for key in row)
    assert {"predictions", "confidence", "mistakes"} <= rows[-1].keys()
    assert (run["offered"], run["delivered"], run["dropped"]) == (calls, calls, {})
    assert run["ranks"]["left_out"] == (RANKS - 1) * (BATCHES + 2)

    (run,), (rows,) = torchrun(world, "aggregate", TELEMETRYD_RANKS="aggregate")
    assert_is_rank_zeros_history(rows)
    assert numbers(rows) == of_rank[0]
    for step, row in enumerate(rows):
        for name in of_rank[0][step]:
            values = [own[step][name] for own in of_rank]
            figures = {figure: row[f"{name}/rank_{figure}"] for figure in ("mean", "min", "max", "std")}
            wanted = {"mean": fmean(values), "min": min(values), "max": max(values), "std": pstdev(values)}
            assert figures == pytest.approx(wanted, rel=1e-6, abs=1e-9), (step, name)
            assert values[row[f"{name}/rank_argmin"]] == min(values)
            assert values[row[f"{name}/rank_argmax"]] == max(values)
    assert (run["offered"], run["delivered"], run["dropped"]) == (calls, calls, {})
    assert run["ranks"]["incomplete_rows"] == 0

    runs, histories = torchrun(world, "group", WANDB_RUN_GROUP="experiment")
    assert len(runs) == RANKS
    assert [run["delivered"] for run in runs] == [BATCHES + 2] * RANKS
    assert sorted(map(_key, map(numbers, histories))) == sorted(map(_key, of_rank))
    assert all(math.isfinite(loss) for own in losses for loss in own)


def _key(rows: list[dict[str, float]]) -> str:
    return json.dumps(rows, sort_keys=True)
