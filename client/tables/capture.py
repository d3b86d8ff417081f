"""What a table is on the wire, at the moment that it is logged: one copy of its cells.

    Table   {id, version, columns, types, data | rows, mode, count, increment, sent, infer, max_rows}

`data` is the msgpack of the rows where all cells are numbers, str, bool and None; `rows` are rows with other cells, see
cells.py. `types` are wandb's JSON forms by column; those at the indexes `infer` are only told in full by wandb's own
objects in the cells. `increment` and `sent` stand for log_mode "INCREMENTAL": the rows are those after `sent` others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from client.media.base import Part
from client.payload import Payload
from client.tables import cells, types
from client.tables.keys import LinkType
from client.values import encode_values

if TYPE_CHECKING:
    from client.tables.table import Table


def arguments(table: Table) -> dict[str, Any]:
    """The arguments of a table's ext 3. Raises TypeError for a cell that wandb cannot store."""
    state = table._state
    incremental = table.log_mode == "INCREMENTAL"
    begin = state.sent_rows if incremental else 0
    limit = max(table.MAX_ROWS, table.MAX_ARTIFACT_ROWS)
    rows = table.data[begin : begin + limit]
    kinds = [table._types.get(column) for column in table.columns]
    args = {
        "id": state.identity,
        "version": state.version,
        "columns": list(table.columns),
        "types": [_wire_type(kind) for kind in kinds if kind is not None],
        "infer": [index for index, kind in enumerate(kinds) if kind is not None and kind.needs_objects()] or None,
        "mode": table.log_mode,
        "count": len(table.data),
        "increment": (state.increment or 0) if incremental else None,
        "sent": begin if incremental else None,
    }
    default = (10000, 200000)
    if default != (table.MAX_ROWS, table.MAX_ARTIFACT_ROWS):
        args["max_rows"] = [table.MAX_ROWS, table.MAX_ARTIFACT_ROWS]
    if table._has_special:
        args["rows"] = [[cells.captured(value) for value in row] for row in rows]
    else:
        args["data"] = Payload.of(encode_values(rows))
    state.sent(len(table.data))
    return args


def _wire_type(kind: types.Type) -> Any:
    if isinstance(kind, LinkType):
        return Part("column link", type=kind.name, table=kind.table, column=kind.col_name)
    return kind.to_wire()
