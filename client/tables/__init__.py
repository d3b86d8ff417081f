"""Tables: `Table`, `JoinedTable`, the types of their columns, and what becomes of them when they are logged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from client import lazy

if TYPE_CHECKING:
    from client.tables.joined import JoinedTable
    from client.tables.table import Table

_LAZY = {"JoinedTable": "client.tables.joined", "Table": "client.tables.table"}


def __getattr__(name: str) -> Any:
    return lazy.load(__name__, _LAZY, name)


def __dir__() -> list[str]:
    return lazy.listed(__name__, _LAZY)


__all__ = ["JoinedTable", "Table"]
