"""Names of a package that are loaded when they are first asked for (PEP 562), so that `import client` stays cheap.

A package keeps one table of such names, and imports the same names under TYPE_CHECKING for type checkers. A module may
import client.* at its top only if every run needs it; tests/unit/test_import.py holds the list.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any


def load(package: str, table: Mapping[str, str], name: str) -> Any:
    """The value of a lazy name, from the module that the table gives for it; kept in the package from then on.

    A module's own name stands for the module itself. Raises AttributeError for a name that is not in the table.
    """
    if name not in table:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    module = import_module(table[name])
    value = module if table[name] == f"{package}.{name}" else getattr(module, name)
    vars(sys.modules[package])[name] = value
    return value


def listed(package: str, table: Iterable[str]) -> list[str]:
    """`dir` of the package: what is loaded, and what could be."""
    return sorted({*vars(sys.modules[package]), *table})
