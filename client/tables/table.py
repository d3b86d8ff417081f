"""`wandb.Table`: rows and columns, checked as they come, logged as they are then.

Typing a value costs wandb tens of microseconds. Here each column remembers the classes of values that leave its type as
it is, so that all rows but the first few are let in by a look at their classes.

Invariants
* `data` and `columns` are the caller's to read and, as in wandb, to change; what is changed there is not checked.
* What is captured when the table is logged refers to nothing of the caller's.
* `_state` says what earlier logs of this table have sent: see log_state.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, Literal, TypeVar

from client.errors import Error
from client.media.base import Media
from client.tables import capture, types
from client.tables.keys import ForeignIndexType, ForeignKeyType, PrimaryKeyType, TableIndex, TableKey
from client.tables.log_state import LogState
from client.tables.recognise import is_dataframe, type_from_dtype, type_of

log = logging.getLogger("telemetryd.client")

ColumnKey = str | int
InputRow = Iterable[Any]
LogMode = Literal["IMMUTABLE", "MUTABLE", "INCREMENTAL"]
LOG_MODES = ["IMMUTABLE", "MUTABLE", "INCREMENTAL"]

_T = TypeVar("_T")
_PLAIN = frozenset({type(None), bool, int, float, str})
_ARTIFACT = "wandb-artifact://"


class Table(Media):
    """A table to log: `run.log({"mistakes": client.Table(columns=["digit", "guess"], data=rows)})`.

    Arguments, methods and errors are wandb's. Cells may be anything that JSON has, dates, numpy arrays, media and other
    tables. A row is checked when it is added: TypeError for a value that does not go with its column, ValueError for
    a row of the wrong length. `log_mode` says what logging the table again means: nothing ("IMMUTABLE"), all of it after
    a change ("MUTABLE"), or the rows that came since ("INCREMENTAL").
    """

    _log_type = "table"
    MAX_ROWS = 10000
    MAX_ARTIFACT_ROWS = 200000

    def __init__(
        self,
        columns: list[ColumnKey] | None = None,
        data: Any = None,
        rows: list[InputRow] | None = None,
        dataframe: Any = None,
        dtype: Any = None,
        optional: bool | list[bool] = True,
        allow_mixed_types: bool = False,
        log_mode: LogMode | None = "IMMUTABLE",
    ) -> None:
        """Raises AssertionError for wrong columns, data or log_mode, as wandb does; TypeError and ValueError for rows."""
        assert log_mode in LOG_MODES, f"Invalid log_mode: {log_mode}. Must be one of {LOG_MODES}"
        self.log_mode = log_mode
        self.data: list[list[Any]] = []
        self.columns: list[ColumnKey] = ["Input", "Output", "Expected"] if columns is None else columns
        self._types: dict[ColumnKey, types.Type] = {}
        self._accepts: dict[ColumnKey, set[type]] = {}
        """Classes of which every value leaves the column's type as it is; for str: unless it names an artifact."""
        self._has_special = False
        """Whether cells have been seen that cannot be encoded as they are."""
        self._pk_col: ColumnKey | None = None
        self._fk_cols: set[ColumnKey] = set()
        self._state = LogState()
        dtype = types.ANY if allow_mixed_types else dtype
        if dataframe is None and is_dataframe(data):
            dataframe = data
        if dataframe is not None:
            self._init_from_dataframe(dataframe, dtype, optional)
            return
        self._set_columns(self.columns, dtype, optional)
        if _is_numpy_array(data):
            self._add_array(data)
            return
        given = data if data is not None else rows if rows is not None else []
        assert isinstance(given, list), "data argument expects a `list` object"
        self._add_rows(given)

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
        """Add rows of nothing but numbers, str, bool and None, column by column; False, and nothing done, for others."""
        width = len(self.columns)
        if self._fk_cols or self._pk_col is not None or self._types.keys() != set(self.columns):
            return False
        if len(self._types) != width:
            return False
        if not all(type(row) in (list, tuple) and len(row) == width for row in rows):  # type: ignore[arg-type]
            return False
        after = {}
        for column, values in zip(self.columns, zip(*rows, strict=True), strict=False):
            after[column] = kind = _assign_plain(self._types[column], values)
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
            if after.keys() == set(self.columns) and not any(isinstance(kind, types.InvalidType) for kind in after.values()):
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
            if len(values) and _is_numpy_array(values) and kind in "biuf" and values.dtype.itemsize <= 8:
                after[column] = after[column].assign_type(type_of(values[0]))
                cells.append(values.tolist())
                continue
            cells.append(list(values))
            if not cells[-1] or set(map(type, cells[-1])) <= _PLAIN:
                after[column] = _assign_plain(after[column], cells[-1])
            else:
                after[column] = types.INVALID  # row by row, below
        if any(isinstance(kind, types.InvalidType) for kind in after.values()):
            for index in range(len(dataframe)):
                self.add_data(*(values[index] for values in columns))
            return
        self._types = after
        self._forget_accepted()
        self.data = list(map(list, zip(*cells, strict=True)))

    # -- rows ------------------------------------------------------------------------------------------------------

    def add_row(self, *row: Any) -> None:
        """Deprecated: use `add_data`."""
        log.warning("add_row is deprecated, use add_data")
        self.add_data(*row)

    def add_data(self, *data: Any) -> None:
        """Add a row: one value for each column. Raises ValueError for another number of them, TypeError for one that
        does not go with its column."""
        self._before_change()
        if len(data) != len(self.columns):
            raise ValueError(f"This table expects {len(self.columns)} columns: {self.columns}, found {len(data)}")
        accepts = self._accepts
        for column, value in zip(self.columns, data, strict=True):
            kind = type(value)
            if kind not in accepts.get(column, ()) or (kind is str and value.startswith(_ARTIFACT)):
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
        known = types.DictType(self._types)
        after = known.assign(row)
        if not isinstance(after, types.DictType):
            raise TypeError(f"Data row contained incompatible types:\n{known.explain(row)}")
        for column, value in row.items():
            if after.type_map[column] != self._types[column]:
                self._types[column] = after.type_map[column]
                self._accepts[column] = set()
            self._accept(column, value)

    def _accept(self, column: ColumnKey, value: Any) -> None:
        """Remember that values of this class change nothing, where that is so for every value of the class."""
        kind = type(value)
        if kind not in _PLAIN and not _is_numpy_number(value):
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

    def iterrows(self) -> Iterator[tuple[TableIndex, list[Any]]]:
        """Each row with its index; the index in a cell of another table links the two."""
        for number in range(len(self.data)):
            yield self.index_ref(number), self.data[number]

    def index_ref(self, index: int) -> TableIndex:
        """The index of one row, for a cell of another table."""
        assert index < len(self.data)
        row_index = TableIndex(index)
        row_index.set_table(self)
        return row_index

    def get_index(self) -> list[TableIndex]:
        """The indexes of all rows."""
        return [self.index_ref(number) for number in range(len(self.data))]

    # -- columns ---------------------------------------------------------------------------------------------------

    def cast(self, col_name: ColumnKey, dtype: Any, optional: bool = False) -> types.Type:
        """Give a column another type. Raises TypeError when a value that is there does not fit."""
        self._before_change()
        assert col_name in self.columns
        kind = type_from_dtype(dtype)
        if optional:
            kind = types.optional(kind)
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
        if not _is_key(kind) and set(map(type, values)) <= _PLAIN:
            after = _assign_plain(kind, values)
            if not isinstance(after, types.InvalidType):
                return after
        for value in values:
            after = kind.assign(value)
            if isinstance(after, types.InvalidType):
                raise TypeError(f"Existing data {value}, of type {type_of(value)} cannot be cast to {kind}")
            kind = after
            if type(value) not in _PLAIN and not _is_numpy_number(value):
                self._has_special = True
        return kind

    def add_column(self, name: str, data: Any, optional: bool = False) -> None:
        """Add a column: a list or numpy array with a value for each row. Raises AssertionError for another length or a
        name that is taken, TypeError for values that do not go together, Error in log_mode "INCREMENTAL"."""
        self._refuse_incremental("add_column")
        self._before_change()
        assert isinstance(name, str) and name not in self.columns
        is_array = _is_numpy_array(data)
        assert isinstance(data, list) or is_array
        assert isinstance(optional, bool)
        is_first = not self.columns
        assert is_first or len(data) == len(self.data), f"Expected length {len(self.data)}, found {len(data)}"
        kind: types.Type = types.optional(types.UNKNOWN) if optional else types.UNKNOWN
        if is_array and len(data) and data.ndim == 1 and data.dtype.kind in "biuf" and data.dtype.itemsize <= 8:
            kind = kind.assign_type(type_of(data[0]))
            values = data.tolist()
        else:
            values = list(data)
            kind = self._assign_column(kind, values)
        if is_first:
            self.data += [[] for _ in values]
        for row, value in zip(self.data, values, strict=False):
            row.append(value)
        self.columns.append(name)
        self._types[name], self._accepts[name] = kind, set()
        self._update_keys()

    def add_computed_columns(self, fn: Callable[[int, dict[ColumnKey, Any]], dict[str, Any]]) -> None:
        """Add what `fn(index, row)` returns for each row, a dict by the names of new columns, as columns."""
        self._refuse_incremental("add_computed_columns")
        self._before_change()
        added: dict[str, list[Any]] = {}
        for index, row in self.iterrows():
            values = fn(index, dict(zip(self.columns, row, strict=False)))
            assert isinstance(values, dict)
            for key, value in values.items():
                added.setdefault(key, []).append(value)
        for key, column in added.items():
            self.add_column(key, column)

    def get_column(self, name: ColumnKey, convert_to: Literal["numpy"] | None = None) -> Any:
        """A column's values as a list, or as a numpy array."""
        assert name in self.columns
        assert convert_to is None or convert_to == "numpy"
        index = self.columns.index(name)
        column = [row[index] for row in self.data]
        if convert_to is None:
            return column
        return _module("numpy", "Converting to NumPy requires installing NumPy").array(
            [item.to_data_array() if hasattr(item, "to_data_array") else item for item in column]
        )

    def get_dataframe(self) -> Any:
        """The table as a pandas.DataFrame. Raises Error where pandas is not imported."""
        pandas = _module("pandas", "Converting to pandas.DataFrame requires installing pandas")
        return pandas.DataFrame.from_records(self.data, columns=self.columns)

    # -- keys ------------------------------------------------------------------------------------------------------

    def set_pk(self, col_name: ColumnKey) -> None:
        """Make a column of str the one by which other tables name this one's rows."""
        assert col_name in self.columns
        self.cast(col_name, PrimaryKeyType())

    def set_fk(self, col_name: ColumnKey, table: Table, table_col: str) -> None:
        """Say that a column's values are those of a column of another table."""
        assert col_name in self.columns
        assert col_name != self._pk_col
        self.cast(col_name, ForeignKeyType(table, table_col))

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

    # -- logging ---------------------------------------------------------------------------------------------------

    def has_been_logged(self) -> bool:
        """Whether it was logged or added to an artifact; an IMMUTABLE table is logged once."""
        return self._state.logged

    def _before_change(self) -> None:
        if self._state.changing(self.log_mode) and not self._state.warned:
            self._state.warned = True
            log.warning(
                "You are mutating a Table with log_mode='IMMUTABLE' that has been logged already. Subsequent log() calls"
                " will have no effect. Set log_mode='MUTABLE' to enable re-logging after mutations"
            )

    def _refuse_incremental(self, method: str) -> None:
        if self.log_mode == "INCREMENTAL":
            raise Error(
                f"Operation '{method}' is not supported for tables with log_mode='INCREMENTAL'. Use a different log mode"
                " like 'MUTABLE' or 'IMMUTABLE'."
            )

    def _wire(self) -> tuple[str, dict[str, Any]]:
        return "Table", capture.arguments(self)

    def _column_type(self) -> types.Type:
        return TableType(types.DictType(dict(self._types)))

    @staticmethod
    def _bare_column_type() -> types.Type:
        return TableType(types.UNKNOWN)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table) or (self.columns, self._types) != (other.columns, other._types):
            return False
        if len(self.data) != len(other.data):
            return False
        for ours, theirs in zip(self.data, other.data, strict=True):
            for one, another in zip(ours, theirs, strict=True):
                equal = one == another
                if not (equal.all() if _is_numpy_array(equal) else equal):
                    return False
        return True

    __hash__ = None  # type: ignore[assignment] # as wandb's


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


def _assign_plain(kind: types.Type, values: Sequence[Any]) -> types.Type:
    """`kind` after all of `values`, decided by their classes where these are plain; INVALID where they are not."""
    classes = dict.fromkeys(map(type, values))
    if not classes.keys() <= _PLAIN or not kind.goes_by_class():
        return types.INVALID
    if str in classes:
        texts = values if len(classes) == 1 else [value for value in values if type(value) is str]
        if any(map(str.startswith, texts, repeat(_ARTIFACT))):
            return types.INVALID
    for each in classes:
        if each is float:
            floats = values if len(classes) == 1 else [value for value in values if type(value) is float]
            if isinstance(kind.assign_type(types.NONE), types.InvalidType) and any(v != v for v in floats):
                return types.INVALID
            kind = kind.assign(next((value for value in floats if value == value), floats[0]))
        else:
            kind = kind.assign(next(value for value in values if type(value) is each))
    return kind


def _is_key(kind: types.Type) -> bool:
    return isinstance(kind, (PrimaryKeyType, ForeignKeyType, ForeignIndexType))


def _per_column(value: _T | list[_T], count: int) -> list[_T]:
    return value if isinstance(value, list) else [value] * count


def _is_numpy_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def _is_numpy_number(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.number, numpy.bool_)) and value.dtype.kind in "biuf"


def _module(name: str, required: str) -> Any:
    module = sys.modules.get(name)
    if module is None:
        raise Error(f"{required}: the client imports it for nobody, so import {name} yourself")
    return module
