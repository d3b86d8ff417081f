"""Tables: `Table`, `JoinedTable`, the types of their columns, and what becomes of them when they are logged."""

from __future__ import annotations

from client.tables.joined import JoinedTable
from client.tables.table import Table

__all__ = ["JoinedTable", "Table"]
