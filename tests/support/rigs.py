"""Run rigs as fixtures: a test module imports the one that it takes, and `standin` with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standin.client import Standin
from tests.support.run_rig import RunRig


@pytest.fixture
def online_rig(short_path: Path, standin: Standin, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunRig]:
    """Its workers talk to the W&B stand-in."""
    for name, value in standin.environment().items():
        monkeypatch.setenv(name, value)
    rig = RunRig(short_path / "rig")
    yield rig
    rig.close()
