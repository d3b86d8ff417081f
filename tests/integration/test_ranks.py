"""Distributed jobs with everything real: torchrun, gloo, ranks as sessions, daemon, run worker, the .wandb file."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from telemetryd.runs.wandb_file import history_rows, records
from tests.support.processes import Spawned, spawn, wait_until
from tests.support.requirements import require_module
from tests.support.world import World

pytestmark = [
    pytest.mark.leaves_files("a world ends by SIGKILL, amid whatever its worker does"),
    pytest.mark.timeout(300),
]
TRAINER = Path(__file__).parents[1] / "support" / "rank_trainer.py"
NAMES = ("mean", "min", "max", "std", "argmin", "argmax")
JOB_DEADLINE_S = 200.0
"""Four processes that import torch share two cores with everything else."""


@pytest.fixture
def world(short_path: Path) -> Iterator[World]:
    require_module("torch.distributed.run")
    made = World(short_path)
    made.start_daemon()
    yield made
    made.close()


def torchrun(world: World, processes: int, *arguments: object, restarts: int = 0, name: str = "job") -> Spawned:
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}"]
    command += ["--standalone", f"--max-restarts={restarts}", str(TRAINER), *map(str, arguments)]
    return spawn(command, world.folder / name, env=world.environment | {"OMP_NUM_THREADS": "1"})


def finished(world: World, job: Spawned, runs: int = 1, code: int = 0) -> list[dict[str, Any]]:
    """The job's runs in `status`, once it is over and everything is delivered."""
    assert job.wait(JOB_DEADLINE_S) == code, job.told()
    found: dict[str, Any] = {}

    def over() -> bool:
        found.clear()
        found.update(world.status() or {})
        done = [run for run in found.get("runs", []) if run["state"] == "finished"]
        return len(done) == runs and not found["pending"]

    wait_until(over, 60, lambda: f"the end of {runs} runs; {json.dumps(found)[:2000]}\n{job.told()}", poll_s=0.1)
    return list(found["runs"])


def run_ids(job: Spawned) -> list[str]:
    return re.findall(r"^rank \d+ of \d+ run (\w+)", job.out(), re.M)


def rows_of(world: World, run_id: str) -> list[tuple[int, dict[str, Any]]]:
    files = sorted(world.runs_dir.glob(f"wandb/*run-*/run-{run_id}.wandb"), key=lambda path: path.stat().st_ctime_ns)
    return [(step, without_own(row)) for path in files for step, row in history_rows(path)]


def without_own(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("_runtime", "_step", "_timestamp")}


def joined(step: int, world: int) -> dict[str, Any]:
    """A row under the policy "aggregate": rank r has v = 100 r + step."""
    low, high = step, 100 * (world - 1) + step
    mean = (low + high) / 2
    variance = sum((100 * rank + step - mean) ** 2 for rank in range(world)) / world
    figures = dict(zip(NAMES, (mean, low, high, variance**0.5, 0, world - 1), strict=True))
    return {"v": step, "name": "rank 0", **{f"v/rank_{name}": value for name, value in figures.items()}}


def assert_rows(found: list[tuple[int, dict[str, Any]]], wanted: list[tuple[int, dict[str, Any]]]) -> None:
    assert [step for step, _ in found] == [step for step, _ in wanted]
    for (step, row), (_, expected) in zip(found, wanted, strict=True):
        assert row == pytest.approx(expected) if all(isinstance(v, float | int) for v in expected.values()) else True
        for key, value in expected.items():
            assert row.get(key) == (pytest.approx(value) if isinstance(value, float) else value), (step, key)
        assert row.keys() == expected.keys(), step


def test_four_ranks_are_one_run_with_rank_zeros_history_by_default(world: World) -> None:
    job = torchrun(world, 4, 20)
    (run,) = finished(world, job)
    (run_id,) = set(run_ids(job))
    assert len(run_ids(job)) == 4
    assert_rows(rows_of(world, run_id), [(step, {"v": step, "name": "rank 0"}) for step in range(20)])
    assert (run["offered"], run["delivered"], run["dropped"]) == (80, 80, {})
    assert (run["ranks"]["world_size"], run["ranks"]["left_out"]) == (4, 60)
    summary = summary_of(world, run_id)
    assert summary["_telemetryd/ranks/world_size"] == 4
    assert {"_telemetryd/ranks/slowest", "_telemetryd/ranks/slowest_step_s"} <= summary.keys()


def summary_of(world: World, run_id: str) -> dict[str, Any]:
    (path,) = world.runs_dir.glob(f"wandb/*run-*/run-{run_id}.wandb")
    summary: dict[str, Any] = {}
    for record in records(path):
        if record.WhichOneof("record_type") == "summary":
            summary.update({item.key or item.nested_key[0]: json.loads(item.value_json)
                            for item in record.summary.update})  # fmt: skip
    return summary


@pytest.mark.chaos
def test_four_ranks_aggregated_give_exactly_the_statistics_of_every_step(world: World) -> None:
    job = torchrun(world, 4, 20, "--policy", "aggregate")
    (run,) = finished(world, job)
    (run_id,) = set(run_ids(job))
    assert_rows(rows_of(world, run_id), [(step, joined(step, 4)) for step in range(20)])
    assert (run["offered"], run["delivered"], run["dropped"]) == (80, 80, {})


@pytest.mark.chaos
def test_four_ranks_with_all_have_series_of_their_own(world: World) -> None:
    job = torchrun(world, 4, 20, "--policy", "all")
    finished(world, job)
    (run_id,) = set(run_ids(job))
    own = {rank: {f"rank{rank}/name": f"rank {rank}"} for rank in range(4)}
    wanted = []
    for step in range(20):
        row: dict[str, Any] = {"v": step, "name": "rank 0"}
        for rank in range(4):
            row |= own[rank] | {f"rank{rank}/v": 100 * rank + step}
        wanted.append((step, row))
    assert_rows(rows_of(world, run_id), wanted)


@pytest.mark.chaos
def test_four_ranks_with_a_group_are_four_runs_of_that_group(world: World) -> None:
    job = torchrun(world, 4, 20, "--group", "experiment")
    finished(world, job, runs=4)
    ids = run_ids(job)
    assert len(set(ids)) == 4
    firsts = set()
    for run_id in ids:
        rows = rows_of(world, run_id)
        assert [step for step, _ in rows] == list(range(20))
        firsts.add(rows[0][1]["name"])
        (path,) = world.runs_dir.glob(f"wandb/*run-*/run-{run_id}.wandb")
        groups = [record.run.run_group for record in records(path) if record.WhichOneof("record_type") == "run"]
        assert groups[0] == "experiment"
    assert firsts == {f"rank {rank}" for rank in range(4)}


@pytest.mark.chaos
def test_a_rank_killed_and_restarted_by_torchrun_goes_on_in_the_same_run_and_no_step_vanishes(world: World) -> None:
    checkpoint = world.folder / "checkpoint"
    job = torchrun(world, 4, 20, "--policy", "aggregate", "--checkpoint", checkpoint, "--kill-rank", 3, "--kill-at",
                   12, "--sleep-s", 0.3, restarts=1)  # fmt: skip
    (run,) = finished(world, job)
    ids = run_ids(job)
    assert len(ids) == 8
    (run_id,) = set(ids)
    rows = rows_of(world, run_id)
    on_time = [(step, row) for step, row in rows if "late_step" not in row]
    assert [step for step, _ in on_time] == list(range(20))
    for step, row in on_time:
        if step != 12:  # rank 3 was killed before it logged this step, and logged it when it was repeated
            assert row["v/rank_max"] == 300 + step, row
    again = [row for _, row in rows if "late_step" in row]
    assert [row["late_step"] for row in again] == [10, 11, 12][: len(again)]
    # A step that was still waiting for the killed rank's row is joined with the repeated ones, and is not late.
    assert len(again) >= 1
    assert all(row["v"] == row["late_step"] for row in again)
    assert run["exit_code"] == 0, "the killed rank's place was taken by one that ended well"
    assert run["offered"] == run["delivered"]
    assert run["dropped"] == {}


@pytest.mark.chaos
def test_a_world_of_four_then_two_then_four_is_one_run(world: World) -> None:
    world.environment["TELEMETRYD_RUN_ID"] = "elastic"
    checkpoint = world.folder / "checkpoint"
    for number, (processes, steps) in enumerate(((4, 10), (2, 20), (4, 30))):
        job = torchrun(
            world, processes, steps, "--policy", "aggregate", "--checkpoint", checkpoint, name=f"job{number}"
        )
        assert job.wait(JOB_DEADLINE_S) == 0, job.told()
    finished(world, job)
    rows = rows_of(world, "elastic")
    worlds = [4] * 10 + [2] * 10 + [4] * 10
    assert_rows(rows, [(step, joined(step, worlds[step])) for step in range(30)])


@pytest.mark.chaos
def test_a_rank_that_never_logs_keeps_no_row_back(world: World) -> None:
    job = torchrun(world, 3, 60, "--policy", "aggregate", "--silent-rank", 2, "--timeout-s", 1, "--sleep-s", 0.05)
    (run,) = finished(world, job)
    (run_id,) = set(run_ids(job))
    rows = rows_of(world, run_id)
    assert_rows(rows, [(step, joined(step, 2) | {"_telemetryd/ranks": 2}) for step in range(60)])
    assert run["ranks"]["incomplete_rows"] == 60


@pytest.mark.chaos
def test_a_rank_a_thousand_steps_behind_is_waited_for_and_joined(world: World) -> None:
    job = torchrun(world, 3, 1000, "--policy", "aggregate", "--lag-rank", 2)
    (run,) = finished(world, job)
    (run_id,) = set(run_ids(job))
    assert_rows(rows_of(world, run_id), [(step, joined(step, 3)) for step in range(1000)])
    assert (run["offered"], run["delivered"], run["ranks"]["late"]) == (3000, 3000, 0)
