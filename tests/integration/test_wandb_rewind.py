"""What W&B's rewind does, on which rests how `resume_from` is done: docs/distributed.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from telemetryd.runs.wandb_file import history_rows
from tests.standin.client import Standin
from tests.standin.fixture import standin

__all__ = ["standin"]
pytestmark = pytest.mark.timeout(240)
SCRIPT = """
import json, sys, wandb
given, rows = json.loads(sys.argv[1]), int(sys.argv[2])
try:
    run = wandb.init(project="p", **given)
except wandb.errors.Error as error:
    print(json.dumps({"error": str(error)}))
    sys.exit()
for number in range(rows):
    run.log({"i": number})
run.finish()
print(json.dumps({"begins_at": run.starting_step}))
"""


def train(standin: Standin, folder: Path, rows: int, **given: Any) -> dict[str, Any]:
    """A training under wandb itself; what it says last."""
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(given), str(rows)], cwd=folder, capture_output=True, text=True,
        env={**os.environ, **standin.environment(), "WANDB_SILENT": "true"}, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def test_a_rewind_takes_rows_out_of_the_run_and_does_so_at_each_init(standin: Standin, tmp_path: Path) -> None:
    train(standin, tmp_path, 10, id="r")
    for _ in range(2):  # as a run worker that is started again would do
        assert train(standin, tmp_path, 3, resume_from="r?_step=5") == {"begins_at": 6}
        assert [row["_step"] for row in standin.rows("r")] == list(range(9)), "what stood at 6 to 9 is gone"
        assert [row["i"] for row in standin.rows("r")] == [0, 1, 2, 3, 4, 5, 0, 1, 2]


def test_a_rewind_that_is_repeated_before_anything_was_logged_since_takes_nothing_more(
    standin: Standin, tmp_path: Path
) -> None:
    train(standin, tmp_path, 10, id="r")
    for _ in range(2):
        assert train(standin, tmp_path, 0, resume_from="r?_step=5") == {"begins_at": 6}
        assert [row["_step"] for row in standin.rows("r")] == list(range(6))


def test_what_a_rewind_takes_out_of_the_history_stays_in_the_folder_of_the_run_that_logged_it(
    standin: Standin, tmp_path: Path
) -> None:
    train(standin, tmp_path, 10, id="r")
    (file,) = Path(os.environ.get("WANDB_DIR", tmp_path)).glob("**/run-*/run-r.wandb")
    train(standin, tmp_path, 3, resume_from="r?_step=5")
    assert [(step, row["i"]) for step, row in history_rows(file)] == [(step, step) for step in range(10)]


def test_where_the_server_cannot_rewind_init_fails_and_nothing_falls_back(standin: Standin, tmp_path: Path) -> None:
    train(standin, tmp_path, 4, id="r")
    standin.graphql_error("RewindRun", message="rewind is not enabled")
    assert "rewind is not enabled" in train(standin, tmp_path, 3, resume_from="r?_step=1")["error"]
    assert [row["_step"] for row in standin.rows("r")] == [0, 1, 2, 3]
