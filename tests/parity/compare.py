"""What two .wandb files must agree on: rows, values, steps and order; config, summary, metric definitions; the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from telemetryd.runs import wandb_file
from telemetryd.runs.carried import Carried, carried_from
from telemetryd.runs.notes import Folder

TIMES = ("_runtime", "_timestamp")
"""What differs between any two runs."""

OURS = "_telemetryd/"
"""Keys of the summary that wandb does not write: the ledger, as the run ends."""


def history(path: Path) -> list[tuple[int, str]]:
    """Rows as text that tells NaN, 1 and 1.0 apart, without the times."""
    rows = []
    for record in wandb_file.records(path):
        if record.WhichOneof("record_type") == "history":
            items = {json.dumps(list(item.nested_key) or [item.key]): item.value_json for item in record.history.item}
            for key in TIMES:
                del items[f'["{key}"]']
            rows.append((record.history.step.num, json.dumps(items, sort_keys=True)))
    return rows


def media_history(path: Path) -> list[tuple[int, str]]:
    """As `history`, for rows of media: wandb-core writes the keys of maps within lists in any order."""
    rows = []
    for step, text in history(path):
        items = {key: json.loads(value) for key, value in json.loads(text).items()}
        rows.append((step, json.dumps(items, sort_keys=True)))
    return rows


def content(path: Path) -> dict[str, Any]:
    """Config, summary and metric definitions as they stand at the file's end."""
    carried: Carried = carried_from([Folder(str(path.parent), str(path), "offline", 0)])
    summary = {key: value for key, value in carried.summary.items() if key not in TIMES and not key.startswith(OURS)}
    metrics = {name: str(metric).partition("_info")[0] for name, metric in carried.metrics.items()}
    return {
        "config": json.dumps(carried.config, sort_keys=True),
        "summary": json.dumps(summary, sort_keys=True),
    } | metrics


def run_record(path: Path) -> dict[str, Any]:
    """What the run is called and belongs to."""
    for record in wandb_file.records(path):
        if record.WhichOneof("record_type") == "run":
            run = record.run
            return {
                "id": run.run_id,
                "project": run.project,
                "entity": run.entity,
                "name": run.display_name,
                "notes": run.notes,
                "tags": list(run.tags),
                "group": run.run_group,
                "job_type": run.job_type,
            }
    raise AssertionError(f"{path} has no run record")


def exit_code(path: Path) -> int | None:
    """The last exit record's code; None: the run is unfinished."""
    records = wandb_file.records(path)
    codes = [record.exit.exit_code for record in records if record.WhichOneof("record_type") == "exit"]
    return codes[-1] if codes else None
