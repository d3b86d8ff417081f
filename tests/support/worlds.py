"""Worlds as fixtures: a test module imports those that it takes, and `standin` with `world`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standin.client import Standin
from tests.support.world import World


@pytest.fixture
def world(short_path: Path, standin: Standin) -> Iterator[World]:
    """Online, against the W&B stand-in."""
    made = World(short_path, standin=standin)
    yield made
    made.close()


@pytest.fixture
def offline(short_path: Path) -> Iterator[World]:
    """Offline."""
    made = World(short_path)
    yield made
    made.close()
