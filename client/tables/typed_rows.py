"""The rows and column types of a table: rows are checked as they come.

Typing a value costs wandb tens of microseconds. Here each column remembers the classes of values that leave its type as
it is, so that all rows but the first few are let in by a look at their classes; whole columns of plain values are
looked at as such (plain.py).

Invariant: a row that is refused changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from client.media.base import Media
from client.tables import compound, types
from client.tables.keys import ForeignIndexType, ForeignKeyType, PrimaryKeyType, TableIndex, TableKey
from client.tables.log_state import LogState
from client.tables.plain import ARTIFACT, PLAIN, assign_plain, is_numpy_array, is_numpy_number
from client.tables.recognise import type_from_dtype, type_of
from client.tensors import is_dataframe
from client.term import termwarn

log = logging.getLogger("telemetryd.client")

ColumnKey = str | int
InputRow = Iterable[Any]

_T = TypeVar("_T")


class TypedRows(Media):
    """See the module's head."""

    log_mode: str | None
    data: list[list[Any]]
    columns: list[ColumnKey]

    def _begin(self) -> None:
        self._types: dict[ColumnKey, types.Type] = {}
        self._accepts: dict[ColumnKey, set[type]] = {}
        """Classes of which every value leaves the column's type as it is; for str: unless it names an artifact."""
        self._has_special = False
        """Whether cells have been seen that cannot be encoded as they are."""
        self._pk_col: ColumnKey | None = None
        self._fk_cols: set[ColumnKey] = set()
        self._state = LogState()

    def _set_columns(self, columns: list[ColumnKey], dtype: Any, optional: bool | list[bool]) -> None:
        assert isinstance(columns, list), "columns argument expects a `list` object"
        assert all(type(column) in (str, int) for column in columns), "columns argument expects list of strings or ints"
        self.columns = columns
        dtypes = _per_column(types.UNKNOWN if dtype is None else dtype, len(columns))
        optionals = _per_column(optional, len(columns))
        for column, kind, may_be_none in zip(columns, dtypes, optionals, strict=False):
            self.cast(column, kind, may_be_none)

    # -- filling many rows at once ---------------------------------------------------------------------------------

    def _add_rows(self, rows: list[InputRow]) -> None:
        if not self._add_plain_rows(rows):
            for row in rows:
                self.add_data(*row)

    def _add_plain_rows(self, rows: list[InputRow]) -> bool:
        """Add rows of nothing but numbers, str, bool and None, column by column; for others False, and nothing done"""
        width = len(self.columns)
        if self._fk_cols or self._pk_col is not None or self._types.keys() != set(self.columns):
            return False
        if len(self._types) != width:
            return False
        if not all(type(row) in (list, tuple) and len(row) == width for row in rows):  # type: ignore[arg-type]
            return False
        after = {}
        for column, values in zip(self.columns, zip(*rows, strict=True), strict=False):
            after[column] = kind = assign_plain(self._types[column], values)
            if isinstance(kind, types.InvalidType):
                return False
        self._types.update(after)
        self._forget_accepted()
        self.data += map(list, rows)
        return True

    def _add_array(self, array: Any) -> None:
        """Rows of a numpy array; Python numbers instead of numpy's where that changes nothing but the speed."""
        if array.ndim == 2 and len(array) and array.dtype.kind in "biuf" and array.dtype.itemsize <= 8:
            if array.shape[1] != len(self.columns):
                self.add_data(*array[0])  # raises
            after = {column: kind.assign_type(type_of(array[0, 0])) for column, kind in self._types.items()}
            if after.keys() == set(self.columns) and not any(
                isinstance(kind, types.InvalidType) for kind in after.values()
            ):
                self._types.update(after)
                self._forget_accepted()
                self.data += array.tolist()
                return
        for row in array:
            self.add_data(*row)

    def _init_from_dataframe(self, dataframe: Any, dtype: Any, optional: bool | list[bool]) -> None:
        assert is_dataframe(dataframe), "dataframe argument expects a `pandas.core.frame.DataFrame` object"
        self._set_columns(list(dataframe.columns), dtype, optional)
        columns = [dataframe[column].values for column in self.columns]
        after = {column: self._types.get(column, types.INVALID) for column in self.columns}
        cells: list[list[Any]] = []
        for column, values in zip(self.columns, columns, strict=True):
            kind = getattr(getattr(values, "dtype", None), "kind", "O")
            if len(values) and is_numpy_array(values) and kind in "biuf" and values.dtype.itemsize <= 8:
                after[column] = after[column].assign_type(type_of(values[0]))
                cells.append(values.tolist())
                continue
            cells.append(list(values))
            if not cells[-1] or set(map(type, cells[-1])) <= PLAIN:
                after[column] = assign_plain(after[column], cells[-1])
            else:
                after[column] = types.INVALID  # row by row, below
        if any(isinstance(kind, types.InvalidType) for kind in after.values()):
            for index in range(len(dataframe)):
                self.add_data(*(values[index] for values in columns))
            return
        self._types = after
        self._forget_accepted()
        self.data = list(map(list, zip(*cells, strict=True)))

    # -- row by row ------------------------------------------------------------------------------------------------

    def add_data(self, *data: Any) -> None:
        """Add a row: one value for each column. Raises ValueError for another number of them, TypeError for one that
        does not go with its column."""
        self._before_change()
        if len(data) != len(self.columns):
            raise ValueError(f"This table expects {len(self.columns)} columns: {self.columns}, found {len(data)}")
        accepts = self._accepts
        for column, value in zip(self.columns, data, strict=True):
            kind = type(value)
            if kind not in accepts.get(column, ()) or (kind is str and value.startswith(ARTIFACT)):
                self._check_row(data)
                break
        self.data.append(list(data))
        if self._fk_cols or self._pk_col is not None:
            self._update_keys(force_last=True)
        self._state.appended()

    def _check_row(self, data: Sequence[Any]) -> None:
        """Assign a row to the columns' types. Raises TypeError, and changes nothing, when it does not fit."""
        for column, value in zip(self.columns, data, strict=True):
            if isinstance(value, (TableKey, TableIndex)):
                self.cast(column, type_of(value))
        row = dict(zip(self.columns, data, strict=True))
        known = compound.DictType(self._types)
        after = known.assign(row)
        if not isinstance(after, compound.DictType):
            raise TypeError(f"Data row contained incompatible types:\n{known.explain(row)}")
        for column, value in row.items():
            if after.type_map[column] != self._types[column]:
                self._types[column] = after.type_map[column]
                self._accepts[column] = set()
            self._accept(column, value)

    def _accept(self, column: ColumnKey, value: Any) -> None:
        """Remember that values of this class change nothing, where that is so for every value of the class."""
        kind = type(value)
        if kind not in PLAIN and not is_numpy_number(value):
            self._has_special = True
            return
        known = self._types[column]
        if not known.goes_by_class():
            return
        if kind is float and isinstance(known.assign_type(types.NONE), types.InvalidType):
            return  # a NaN would not fit
        of_kind = types.NUMBER if kind is float else types.STRING if kind is str else type_of(value)
        if known.assign_type(of_kind) == known:
            self._accepts[column].add(kind)

    def _forget_accepted(self) -> None:
        self._accepts = {column: set() for column in self.columns}

    def cast(self, col_name: ColumnKey, dtype: Any, optional: bool = False) -> types.Type:
        """Give a column another type. Raises TypeError when a value that is there does not fit."""
        self._before_change()
        assert col_name in self.columns
        kind = type_from_dtype(dtype)
        if optional:
            kind = compound.optional(kind)
        index = self.columns.index(col_name)
        if self.data:
            kind = self._assign_column(kind, [row[index] for row in self.data])
        if isinstance(kind, (PrimaryKeyType, ForeignKeyType, ForeignIndexType)):
            assert not optional, "Primary keys, foreign keys, and foreign indexes cannot be optional."
        if isinstance(kind, ForeignKeyType) and kind.table is self:
            raise AssertionError("Cannot set a foreign table reference to same table.")
        if isinstance(kind, PrimaryKeyType):
            message = f"Cannot have multiple primary keys - {self._pk_col} is already set as the primary key."
            assert self._pk_col is None, message
        self._types[col_name] = kind
        self._accepts[col_name] = set()
        self._update_keys()
        return kind

    def _assign_column(self, kind: types.Type, values: Sequence[Any]) -> types.Type:
        if not _is_key(kind) and set(map(type, values)) <= PLAIN:
            after = assign_plain(kind, values)
            if not isinstance(after, types.InvalidType):
                return after
        for value in values:
            after = kind.assign(value)
            if isinstance(after, types.InvalidType):
                raise TypeError(f"Existing data {value}, of type {type_of(value)} cannot be cast to {kind}")
            kind = after
            if type(value) not in PLAIN and not is_numpy_number(value):
                self._has_special = True
        return kind

    def _update_keys(self, force_last: bool = False) -> None:
        pk_col = next((column for column, kind in self._types.items() if isinstance(kind, PrimaryKeyType)), None)
        links = {c for c, kind in self._types.items() if isinstance(kind, (ForeignKeyType, ForeignIndexType))}
        changed = pk_col != self._pk_col or links != self._fk_cols
        if changed:
            if pk_col is None and self._pk_col is not None:
                raise AssertionError(f"Cannot unset primary key (column {self._pk_col})")
            if self._fk_cols - links:
                raise AssertionError(f"Cannot unset foreign key. Attempted to unset ({self._fk_cols - links})")
            self._pk_col, self._fk_cols = pk_col, links
        if changed or force_last:
            for row in self.data if changed else self.data[-1:]:
                self._wrap_keys(row)

    def _wrap_keys(self, row: list[Any]) -> None:
        for column in self._fk_cols:
            index, kind = self.columns.index(column), self._types[column]
            if isinstance(kind, ForeignKeyType) and not isinstance(row[index], TableKey):
                assert kind.col_name is not None
                row[index] = TableKey(row[index])
                row[index].set_table(kind.table, kind.col_name)
            elif isinstance(kind, ForeignIndexType) and not isinstance(row[index], TableIndex):
                row[index] = TableIndex(row[index])
                row[index].set_table(kind.table)
        if self._pk_col is not None:
            index = self.columns.index(self._pk_col)
            row[index] = TableKey(row[index])
            row[index].set_table(self, self._pk_col)

    def _before_change(self) -> None:
        if self._state.changing(self.log_mode) and not self._state.warned:
            self._state.warned = True
            termwarn(
                "You are mutating a Table with log_mode='IMMUTABLE' that has been logged already. Subsequent log()"
                " calls will have no effect. Set log_mode='MUTABLE' to enable re-logging after mutations",
                repeat=False,
            )


def _is_key(kind: types.Type) -> bool:
    return isinstance(kind, (PrimaryKeyType, ForeignKeyType, ForeignIndexType))


def _per_column(value: _T | list[_T], count: int) -> list[_T]:
    return value if isinstance(value, list) else [value] * count
