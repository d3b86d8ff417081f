"""The table of wandb's names is complete, and agrees with what is there."""

from __future__ import annotations

import pytest

from client.names import NEVER
from client.run import Run
from tests.docs import wandb_names
from tests.support.requirements import require_module

wandb = require_module("wandb")
AGAIN = "take it out of the list, and run python -m tests.docs.wandb_names"


def test_the_document_is_written_from_the_lists() -> None:
    assert wandb_names.DOCUMENT.read_text() == wandb_names.document(), "run python -m tests.docs.wandb_names"


@pytest.mark.parametrize(("name", "status", "note"), wandb_names.module_rows(), ids=lambda value: str(value)[:20])
def test_the_table_agrees_with_the_module(name: str, status: str, note: str) -> None:
    assert wandb_names.here(name) == (status != "no"), f"{name} is there now: {AGAIN}" if status == "no" else name
    assert bool(note) == (status != "yes")
    if status == "yes":
        theirs, ours = (wandb_names.arguments(getattr(module, name)) for module in (wandb, wandb_names.client))
        assert ours == theirs, f"{name} takes other arguments: say in MODULE_DIFFERS how it differs"


@pytest.mark.parametrize(("name", "status", "note"), wandb_names.run_rows(), ids=lambda value: str(value)[:20])
def test_the_table_agrees_with_a_run(name: str, status: str, note: str) -> None:
    assert hasattr(Run, name) or name in ("summary",)
    assert bool(note) == (status != "yes")
    if status == "yes":
        theirs, ours = (wandb_names.arguments(getattr(kind, name)) for kind in (wandb.Run, Run))
        assert ours == theirs, f"{name} takes other arguments: say in RUN_DIFFERS how it differs"


def test_the_lists_hold_names_of_wandb_only_and_each_once() -> None:
    module, run = set(wandb_names.wandbs_names()), set(wandb_names.runs_names())
    lists = [set(NEVER), set(wandb_names.MODULE_NO), set(wandb_names.TO_COME), set(wandb_names.MODULE_DIFFERS)]
    assert set().union(*lists) - module == set()
    assert sum(map(len, lists[:3])) == len(set().union(*lists[:3])), "a name stands in two lists"
    assert set(wandb_names.RUN_DIFFERS) - run == set()
