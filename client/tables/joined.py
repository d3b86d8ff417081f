"""`JoinedTable`: two tables shown as one, joined by a key."""

from __future__ import annotations

from typing import Any

from client.media.base import Media
from client.tables.table import Table


class JoinedTable(Media):
    """Two tables and the column, or the two columns, by which they are joined.

    Raises ValueError for a table that is no Table and no path to one in an artifact (".table.json"), and for a key that
    is no str and no list of two.
    """

    _log_type = "joined-table"

    def __init__(self, table1: Any, table2: Any, join_key: str | list[str]) -> None:
        if not isinstance(join_key, str) and (not isinstance(join_key, list) or len(join_key) != 2):
            raise ValueError("JoinedTable join_key should be a string or a list of two strings")
        for number, table in enumerate((table1, table2), 1):
            if not (isinstance(table, Table) or (isinstance(table, str) and table.endswith(".table.json"))):
                message = "should be an artifact path to a table or wandb.Table object"
                raise ValueError(f"JoinedTable table{number} {message}")
        self._table1 = table1
        self._table2 = table2
        self._join_key = join_key if isinstance(join_key, str) else list(join_key)

    def _wire(self) -> tuple[str, dict[str, Any]]:
        return "JoinedTable", {"table1": self._table1, "table2": self._table2, "join_key": self._join_key}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JoinedTable) or self._join_key != other._join_key:
            return False
        return bool(self._table1 == other._table1 and self._table2 == other._table2)

    __hash__ = None  # type: ignore[assignment]
