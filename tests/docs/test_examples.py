"""Code in the documents runs, and the demo does what the README says of it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from telemetryd.runs.wandb_file import history_rows, records
from tests.docs.markdown import ROOT, Block, blocks
from tests.support.daemon import Daemon
from tests.support.processes import python, running
from tests.support.requirements import require

DEMO = ROOT / "deploy" / "examples" / "train_digits.py"


def wandb_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/*run-*/run-*.wandb"))


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_in_documents_runs_and_logs(block: Block, daemon: Daemon, isolated: Path, tmp_path: Path) -> None:
    with running(python("-c", block.text), tmp_path) as example:
        assert example.wait(60) == 0, example.told()
    if "wandb.init(" in block.text:
        daemon.wait_status(lambda status: status["offered"] and not status["pending"], what="delivery of every row")
        ended = "the end of every run, or its worker would be killed with the daemon"
        daemon.wait_status(lambda status: all(run["state"] == "finished" for run in status["runs"]), 60, ended)
        (file,) = wandb_files(isolated / "runs")
        assert list(history_rows(file))


def test_the_demo_delivers_every_row_and_says_where_it_is(isolated: Path, tmp_path: Path) -> None:
    try:
        import sklearn  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        require(False, f"the demo needs torch and scikit-learn: {error}")
    command = python("-m", "telemetryd", "run", "--", *python(DEMO))
    with running(command, tmp_path) as demo:
        assert demo.wait(110) == 0, demo.told()
        said = demo.out() + demo.err()
    (file,) = wandb_files(isolated / "runs")
    rows = list(history_rows(file))
    logged = [row for _, row in rows]
    assert [step for step, _ in rows] == list(
        range(921)
    )  # 45 batches and one validation in each of 20 epochs, pictures
    assert [row["global_step"] for row in logged if "train/loss" in row] == list(range(1, 901))
    assert [row["epoch"] for row in logged if "val/accuracy" in row] == list(range(20))
    assert logged[-2]["val/accuracy"] > 0.95
    pictures = logged[-1]
    assert (pictures["predictions"]["_type"], pictures["predictions"]["count"]) == ("images/separated", 16)
    assert pictures["confidence"]["_type"] == "histogram"
    assert [pictures[key]["_type"] for key in ("confusion_table", "mistakes")] == ["table-file", "table-file"]
    assert pictures["mistakes"]["nrows"] == round(360 * (1 - logged[-2]["val/accuracy"]))
    media = [file.suffix for file in (file.parent / "files" / "media").rglob("*") if file.is_file()]
    assert sorted(set(media)) == [".json", ".png"]
    metrics = [record.metric for record in records(file) if record.WhichOneof("record_type") == "metric"]
    assert {metric.step_metric or "none" for metric in metrics} == {"none", "global_step"}
    assert {"global_step", "train/*", "val/*"} <= {metric.name or metric.glob_name for metric in metrics}
    assert said.count("921 offered = 921 delivered + 0 dropped + 0 pending") == 1
    assert "rows offered" not in said  # the script's own report, which the launcher's stands for
    assert f"where    {file.parent}\n" in said
    assert f"wandb sync {file.parent}\n" in said
    assert re.search(r"val/accuracy +0\.9\d+ +[▁▂▃▄▅▆▇█]{10,}", said), said
    shown = shown_by_wandb(said)
    assert (shown["state"], shown["exit_code"], shown["tags"]) == ("finished", 0, ["demo"])
    assert (shown["config"]["epochs"], shown["console_lines"]) == (20, 20)
    assert shown["summary"]["best_accuracy"] == shown["summary"]["val/accuracy"]["max"] > 0.95


def shown_by_wandb(said: str) -> dict[str, Any]:
    """What wandb's own viewer says of a run, called the way the launcher tells a person to."""
    look = re.search(r"^  look +(.+ leet) (.+)$", said, re.M)
    assert look, said
    command = [*shlex.split(look[1]), "inspect", "--summary", "--json", *shlex.split(look[2])]
    shown = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=True)
    found: dict[str, Any] = json.loads(shown.stdout)
    return found
