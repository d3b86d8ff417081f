"""`wandb.Table`: rows and columns, logged as they are then.

Invariants
* `data` and `columns` are the caller's to read and, as in wandb, to change; what is changed there is not checked.
* What is captured when the table is logged refers to nothing of the caller's.
* `_state` says what earlier logs of this table have sent: see log_state.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal

from client.errors import Error
from client.tables import capture, compound, types
from client.tables.keys import ForeignKeyType, PrimaryKeyType, TableIndex, TableType
from client.tables.plain import is_numpy_array
from client.tables.recognise import type_of
from client.tables.typed_rows import ColumnKey, InputRow, TypedRows, log
from client.tensors import is_dataframe

LogMode = Literal["IMMUTABLE", "MUTABLE", "INCREMENTAL"]
LOG_MODES = ["IMMUTABLE", "MUTABLE", "INCREMENTAL"]


class Table(TypedRows):
    """A table to log: `run.log({"mistakes": client.Table(columns=["digit", "guess"], data=rows)})`.

    Arguments, methods and errors are wandb's. Cells may be anything that JSON has, dates, numpy arrays, media and other
    tables. A row is checked when it is added: TypeError for a value that does not go with its column, ValueError for
    a row of the wrong length. `log_mode` says what logging the table again means: nothing ("IMMUTABLE"), all of it
    after a change ("MUTABLE"), or the rows that came since ("INCREMENTAL").
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
        """Raises AssertionError for wrong columns, data or log_mode, TypeError and ValueError for rows, as wandb."""
        assert log_mode in LOG_MODES, f"Invalid log_mode: {log_mode}. Must be one of {LOG_MODES}"
        self.log_mode = log_mode
        self.data: list[list[Any]] = []
        self.columns: list[ColumnKey] = ["Input", "Output", "Expected"] if columns is None else columns
        self._begin()
        dtype = types.ANY if allow_mixed_types else dtype
        if dataframe is None and is_dataframe(data):
            dataframe = data
        if dataframe is not None:
            self._init_from_dataframe(dataframe, dtype, optional)
            return
        self._set_columns(self.columns, dtype, optional)
        if is_numpy_array(data):
            self._add_array(data)
            return
        given = data if data is not None else rows if rows is not None else []
        assert isinstance(given, list), "data argument expects a `list` object"
        self._add_rows(given)

    # -- rows ------------------------------------------------------------------------------------------------------

    def add_row(self, *row: Any) -> None:
        """Deprecated: use `add_data`."""
        log.warning("add_row is deprecated, use add_data")
        self.add_data(*row)

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

    def add_column(self, name: str, data: Any, optional: bool = False) -> None:
        """Add a column: a list or numpy array with a value for each row. Raises AssertionError for another length or a
        name that is taken, TypeError for values that do not go together, Error in log_mode "INCREMENTAL"."""
        self._refuse_incremental("add_column")
        self._before_change()
        assert isinstance(name, str)
        assert name not in self.columns
        is_array = is_numpy_array(data)
        assert isinstance(data, list) or is_array
        assert isinstance(optional, bool)
        is_first = not self.columns
        assert is_first or len(data) == len(self.data), f"Expected length {len(self.data)}, found {len(data)}"
        kind: types.Type = compound.optional(types.UNKNOWN) if optional else types.UNKNOWN
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

    # -- logging ---------------------------------------------------------------------------------------------------

    def has_been_logged(self) -> bool:
        """Whether it was logged or added to an artifact; an IMMUTABLE table is logged once."""
        return self._state.logged

    def _refuse_incremental(self, method: str) -> None:
        if self.log_mode == "INCREMENTAL":
            raise Error(
                f"Operation '{method}' is not supported for tables with log_mode='INCREMENTAL'. Use a different log"
                " mode like 'MUTABLE' or 'IMMUTABLE'."
            )

    def _wire(self) -> tuple[str, dict[str, Any]]:
        return "Table", capture.arguments(self)

    def _column_type(self) -> types.Type:
        return TableType(compound.DictType(dict(self._types)))

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
                if not (equal.all() if is_numpy_array(equal) else equal):
                    return False
        return True

    __hash__ = None  # type: ignore[assignment] # as wandb's


def _module(name: str, required: str) -> Any:
    module = sys.modules.get(name)
    if module is None:
        raise Error(f"{required}: the client imports it for nobody, so import {name} yourself")
    return module
