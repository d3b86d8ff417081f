"""What one row holds twice is captured and journaled once."""

from __future__ import annotations

import client
from client import rich
from client.payload import Payload


def test_a_table_in_several_charts_of_one_log_is_captured_once() -> None:
    placed: list[Payload] = []

    def place(payload: Payload) -> int:
        placed.append(payload)
        return len(placed)

    table = client.Table(columns=["a", "b"], data=[[i, i / 7] for i in range(1000)])
    other = client.Table(columns=["a", "b"], data=[[i, i / 7] for i in range(1000)])
    charts = {"bar": client.plot.bar(table, "a", "b"), "line": client.plot.line(table, "a", "b")}
    rich.encode({"table": table, **charts, "others": client.plot.bar(other, "a", "b")}, place)
    assert len(placed) == 2
