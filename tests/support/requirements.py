"""What a test needs of its machine, said by the test: it skips where that is lacking, except in CI (REQUIRE_ALL=1)."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest


def require(condition: object, reason: str) -> None:
    """Skips the calling test unless `condition` holds; under REQUIRE_ALL=1 (CI) fails it instead."""
    if condition:
        return
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(f"REQUIRE_ALL=1, and this machine lacks something: {reason}", pytrace=False)
    pytest.skip(reason)


def require_module(name: str) -> ModuleType:
    """Imports a module, for a whole test file: skips the file where it is missing, but in CI that is an error."""
    if os.environ.get("REQUIRE_ALL") == "1":
        return importlib.import_module(name)
    module: ModuleType = pytest.importorskip(name)
    return module
