"""The same script on wandb and on the client records the same rows, steps, config and summary, and fails alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.parity.both import on_client, on_wandb
from tests.support.requirements import require_module

require_module("wandb")


def pair_of(script: str, folder: Path) -> tuple[Any, Any]:
    for name in ("wandb", "client"):
        (folder / name).mkdir()
    return on_wandb(script, folder / "wandb"), on_client(script, folder / "client")


def normal(value: Any) -> Any:
    """NaN equal to itself, 1.0 equal to 1."""
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [normal(item) for item in value]
    return "NaN" if isinstance(value, float) and value != value else value


def without_merged(rows: list[dict]) -> list[dict]:
    """wandb-core fills in the newest value of a step metric; the daemon's wandb does so for us."""
    return [{key: item for key, item in row.items() if key != "epoch"} for row in rows]


@pytest.mark.parametrize("script", ["steps.py", "values.py", "summary.py"])
def test_a_script_records_the_same_on_both(script: str, tmp_path: Path) -> None:
    theirs, ours = pair_of(script, tmp_path)
    assert len(theirs.rows) == len(ours.rows) == 1
    assert normal(without_merged(ours.rows[0])) == normal(without_merged(theirs.rows[0]))
    assert normal(ours.configs) == normal(theirs.configs)
    mirrored, stored = normal(ours.summaries[0]), normal(theirs.summaries[0])
    for key in ("_step", "gone"):  # the file has no word for what was removed; run.summary and W&B have it removed
        stored.pop(key, None)
    assert mirrored == stored


def test_wrong_calls_raise_what_wandb_raises(tmp_path: Path) -> None:
    theirs, ours = pair_of("wrong_calls.py", tmp_path)
    expected, raised = theirs.configs[-1]["said"], ours.configs[-1]["said"]
    assert raised.keys() == expected.keys()
    for label, (kinds, text) in expected.items():
        our_kinds, our_text = raised[label]
        assert bool(our_kinds) == bool(kinds), f"{label}: {our_kinds} {our_text}, wandb: {kinds} {text}"
        if not kinds:
            continue
        wanted = "ValueError" if "ValidationError" in kinds else kinds[0]
        assert wanted in our_kinds, f"{label}: {our_kinds} {our_text}, wandb: {kinds} {text}"
