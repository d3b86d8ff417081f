"""The fake driver as a fixture, built once for a test module."""

from __future__ import annotations

import pytest

from tests.fake_nvml.driver import FakeDriver


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> FakeDriver:
    """The driver's library; each test makes a FakeDriver of its own on the same folder."""
    return FakeDriver.build(tmp_path_factory.mktemp("driver"))
