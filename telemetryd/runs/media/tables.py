"""wandb's tables of what a training process logged: rows, column types, links between tables."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterable
from enum import Enum
from typing import Any

import msgspec

from client.protocol.records import decode_ext
from telemetryd.runs import wandb_tables
from telemetryd.runs.media import door
from telemetryd.runs.media.builder import MediaBuilder
from telemetryd.runs.wire_values import revive

_decode_rows = msgspec.msgpack.Decoder(list[list[Any]], ext_hook=decode_ext).decode


class Increment(list[list[Any]]):
    """The newest rows of a table whose earlier ones were logged before: counted, and not here."""

    def __init__(self, rows: Iterable[list[Any]], before: int) -> None:
        super().__init__(rows)
        self.before = before

    def __len__(self) -> int:
        return self.before + super().__len__()

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            return super().__getitem__(slice(max(0, start - self.before), max(0, stop - self.before)))
        return super().__getitem__(index - self.before if index >= 0 else index)


def rows_of(args: dict[str, Any], builder: MediaBuilder) -> list[list[Any]]:
    """The rows of a table's arguments, media in them constructed."""
    if "rows" in args:
        return [[builder.build(cell) for cell in row] for row in args["rows"]]
    return [[revive(cell) for cell in row] for row in _decode_rows(builder.build(args["data"]))]


def table(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.Table with these rows. The types of its columns are those that the client found when they were added."""
    logged = builder.logged_table(args)
    if logged is not None:
        return logged
    rows = rows_of(args, builder)
    kinds = [builder.build(kind) for kind in args["types"]]
    kinds = [wandb_tables.column_type(kind) if isinstance(kind, dict) else kind for kind in kinds]
    made = door.data_types().Table(columns=args["columns"], data=[], dtype=kinds, optional=False, log_mode=args["mode"])
    made.data = Increment(rows, args["sent"]) if args.get("sent") else rows
    if "max_rows" in args:
        made.MAX_ROWS, made.MAX_ARTIFACT_ROWS = args["max_rows"]
    wandb_tables.complete_table(made, args.get("infer", ()))
    return made


def column_link(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """The type of a column whose values name the rows of another table."""
    return wandb_tables.link_type(args["type"], builder.build(args["table"]), args.get("column"))


def joined_table(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.JoinedTable."""
    return door.data_types().JoinedTable(**builder.arguments(args))


def moment(args: dict[str, Any], builder: MediaBuilder) -> datetime.datetime:
    """A datetime as it was, with its time zone's offset."""
    return datetime.datetime.fromisoformat(args["iso"])


def day(args: dict[str, Any], builder: MediaBuilder) -> datetime.date:
    """A date."""
    return datetime.date.fromisoformat(args["iso"])


def numpy_moment(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """A numpy.datetime64. Raises ImportError without numpy."""
    import numpy as np

    return np.datetime64(args["value"], args["unit"])


def decimal_number(args: dict[str, Any], builder: MediaBuilder) -> decimal.Decimal:
    """A Decimal."""
    return decimal.Decimal(args["text"])


def enum_member(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """A member of an enumeration: wandb stores its name in one file and its value in the other."""
    made: Any = Enum("Enum", {args["name"]: builder.build(args["value"])})  # type: ignore[misc]
    return made[args["name"]]
