"""The engine and the images: built once, by docker-compose.yml as a user builds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.engine import BUILD_DEADLINE_S, Project, require_engine


@pytest.fixture(scope="session")
def images() -> None:
    """All three images, from the sources as they are."""
    require_engine()
    project = Project(standin=True)
    project.compose("build", timeout_s=BUILD_DEADLINE_S)


@pytest.fixture
def projects(images: None) -> Iterator[Callable[..., Project]]:
    """Makes projects that are gone at the test's end."""
    made: list[Project] = []

    def make(*files: Path, env: dict[str, str] | None = None, standin: bool = False) -> Project:
        project = Project(*files, env=env, standin=standin)
        made.append(project)
        return project

    yield make
    for project in made:
        project.end()
