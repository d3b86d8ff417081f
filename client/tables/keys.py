"""What links tables: keys and row indexes that know their table, and the types of columns of these, or of tables."""
# ruff: noqa: D102 - the methods of types are those of Type, which documents them

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from client.tables import types

if TYPE_CHECKING:
    from client.tables.table import Table
    from client.tables.typed_rows import ColumnKey


class TableKey(str):
    """A cell of a key column: a str that knows the table and column it belongs to."""

    _table: Table
    _col_name: ColumnKey

    def set_table(self, table: Table, col_name: ColumnKey) -> None:
        """Say which column of which table this is a value of."""
        assert col_name in table.columns
        self._table = table
        self._col_name = col_name

    def _column_type(self) -> types.Type:
        return ForeignKeyType(self._table, self._col_name)


class TableIndex(int):
    """The number of a row that knows its table. In a cell of another table it links the two."""

    _table: Table | None = None

    def set_table(self, table: Table) -> None:
        """Say which table this is a row of."""
        self._table = table

    def get_row(self) -> dict[ColumnKey, Any]:
        """The row, by column."""
        return dict(zip(self._table.columns, self._table.data[self], strict=False)) if self._table else {}

    def _column_type(self) -> types.Type:
        assert self._table is not None
        return ForeignIndexType(self._table)


class PrimaryKeyType(types.Type):
    """The column by which other tables name the rows of this one."""

    name = "primaryKey"

    def assign_type(self, other: types.Type) -> types.Type:
        return self if isinstance(other, (types.StringType, PrimaryKeyType)) else types.INVALID


class LinkType(types.Type):
    """A column whose values name rows of another table."""

    def __init__(self, table: Table, col_name: ColumnKey | None) -> None:
        super().__init__()
        self.table = table
        self.col_name = col_name
        self.params["table"] = table
        if col_name is not None:
            self.params["col_name"] = col_name

    def is_same(self, other: types.Type) -> bool:
        """Whether both name rows of the same table by the same column."""
        return type(other) is type(self) and other.table is self.table and other.col_name == self.col_name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, types.Type) and self.is_same(other)

    def __hash__(self) -> int:
        return id(self.table)


class ForeignKeyType(LinkType):
    """A column of another table's key."""

    name = "foreignKey"

    def __init__(self, table: Table, col_name: ColumnKey) -> None:
        assert isinstance(col_name, str)
        assert col_name in table.columns
        super().__init__(table, col_name)

    def assign_type(self, other: types.Type) -> types.Type:
        return self if isinstance(other, types.StringType) or self.is_same(other) else types.INVALID


class ForeignIndexType(LinkType):
    """A column of row numbers of another table."""

    name = "foreignIndex"

    def __init__(self, table: Table) -> None:
        super().__init__(table, None)

    def assign_type(self, other: types.Type) -> types.Type:
        return self if isinstance(other, types.NumberType) or self.is_same(other) else types.INVALID


class TableType(types.Type):
    """A column of tables, by the types of their columns."""

    name = "table"

    def __init__(self, columns: types.Type) -> None:
        super().__init__()
        self.columns = columns
        self.params["column_types"] = columns

    def assign_type(self, other: types.Type) -> types.Type:
        if isinstance(other, TableType):
            columns = self.columns.assign_type(other.columns)
            if not isinstance(columns, types.InvalidType):
                return TableType(columns)
        return types.INVALID

    def to_wire(self) -> types.WireType:
        return {"wb_type": self.name}

    def needs_objects(self) -> bool:
        return True
