"""Tables and charts of the client: what they take, what they refuse, and what they are when they are logged."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import client
from client import plot, testing
from client.protocol.records import Media


def logged(*tables: Any) -> list[Media]:
    with testing.recording() as recorded:
        run = client.init(project="t")
        for table in tables:
            run.log({"table": table})
        run.finish()
    return [row["table"] for row in recorded.run.rows]


def rows_of(media: Media) -> list[list[Any]]:
    return msgspec.msgpack.decode(media.args["data"])


def test_a_row_of_another_type_is_refused_and_leaves_the_table_as_it_was() -> None:
    table = client.Table(columns=["n", "s"], data=[[1, "a"]])
    with pytest.raises(TypeError, match="Data row contained incompatible types"):
        table.add_data("no number", "b")
    with pytest.raises(ValueError, match="expects 2 columns"):
        table.add_data(1)
    table.add_data(2.5, None)
    assert table.data == [[1, "a"], [2.5, None]]


def test_rows_given_at_once_are_refused_as_rows_one_by_one() -> None:
    rows: list[Any] = [[1, "a"]] * 50 + [[1, 2]]
    with pytest.raises(TypeError, match="Key 's'"):
        client.Table(columns=["n", "s"], data=rows)


def test_a_nan_is_refused_where_none_is() -> None:
    with pytest.raises(TypeError):
        client.Table(columns=["n"], data=[[1.0], [float("nan")]], optional=False)
    assert len(client.Table(columns=["n"], data=[[1.0], [float("nan")]]).data) == 2


def test_a_logged_table_does_not_change_with_its_cells() -> None:
    table = client.Table(columns=["n"], data=[[1]])
    with testing.recording() as recorded:
        run = client.init(project="t")
        run.log({"table": table})
        table.data[0][0] = 99
        table.columns[0] = "other"
        run.finish()
    (row,) = recorded.run.rows
    assert row["table"].args["columns"] == ["n"]
    assert rows_of(row["table"]) == [[1]]


def test_a_table_that_is_logged_again_is_known_by_its_identity_and_version() -> None:
    mutable = client.Table(columns=["n"], data=[[1]], log_mode="MUTABLE")
    with testing.recording() as recorded:
        run = client.init(project="t")
        run.log({"table": mutable})
        run.log({"table": mutable})
        mutable.add_data(2)
        run.log({"table": mutable})
        run.finish()
    first, second, third = (row["table"].args for row in recorded.run.rows)
    assert first["id"] == second["id"] == third["id"]
    assert [args["version"] for args in (first, second, third)] == [0, 0, 1]


def test_an_increment_holds_the_rows_since_the_last_log_alone() -> None:
    table = client.Table(columns=["n"], log_mode="INCREMENTAL")
    with testing.recording() as recorded:
        run = client.init(project="t")
        for number in range(3):
            table.add_data(number)
            table.add_data(number + 10)
            run.log({"table": table})
        run.log({"table": table})
        run.finish()
    sent = [row["table"] for row in recorded.run.rows]
    assert [rows_of(each) for each in sent] == [[[0], [10]], [[1], [11]], [[2], [12]], [[2], [12]]]
    assert [each.args["increment"] for each in sent] == [0, 1, 2, 2]
    assert [each.args["count"] for each in sent] == [2, 4, 6, 6]
    with pytest.raises(client.Error, match="not supported for tables with log_mode='INCREMENTAL'"):
        table.add_column("late", [1] * 6)


def test_no_more_rows_are_sent_than_wandb_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.Table, "MAX_ROWS", 3)
    monkeypatch.setattr(client.Table, "MAX_ARTIFACT_ROWS", 5)
    (media,) = logged(client.Table(columns=["n"], data=[[number] for number in range(9)]))
    assert len(rows_of(media)) == 5
    assert (media.args["count"], media.args["max_rows"]) == (9, [3, 5])


def test_a_cell_that_wandb_cannot_store_is_refused_when_the_table_is_logged() -> None:
    with testing.recording():
        run = client.init(project="t")
        for cell in (object(), client.Histogram([1, 2]), 1j, {"deep": [object()]}):
            with pytest.raises(TypeError, match="not JSON serializable"):
                run.log({"table": client.Table(columns=["o"], data=[[cell]])})


def test_tables_are_linked_by_rows_and_keys() -> None:
    people = client.Table(columns=["name"], data=[["ann"]])
    people.set_pk("name")
    notes = client.Table(columns=["who"])
    for index in people.get_index():
        notes.add_data(index)
    assert notes.data[0][0].get_row() == {"name": "ann"}
    loop = client.Table(columns=["who"])
    with pytest.raises(AssertionError, match="same table"):
        loop.set_fk("who", loop, "who")


def test_charts_check_their_arguments_at_once() -> None:
    with pytest.raises(client.Error, match="Expected `data_table`"):
        plot.line([[1]], "a", "b")  # type: ignore[arg-type]
    with pytest.raises(client.Error, match="Expected `value`"):
        plot.visualize("id", 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Number of x-series"):
        plot.line_series([[1], [2]], [[1]])
    with pytest.raises(ValueError, match="Number of keys"):
        plot.line_series([1], [[1]], keys=["a", "b"])
    with pytest.raises(ValueError, match="Only one of"):
        plot.confusion_matrix(probs=[[1]], preds=[0], y_true=[0])
    with pytest.raises(ValueError, match="must be equal"):
        plot.confusion_matrix(preds=[0], y_true=[0, 1])
    with pytest.raises(ValueError, match="unique predicted"):
        plot.confusion_matrix(preds=[0, 1], y_true=[0, 0], class_names=["a"])
    with pytest.raises(KeyError):
        plot.confusion_matrix(preds=[5], y_true=[0], class_names=["a"])
    with pytest.raises(ValueError, match="inconsistent numbers"):
        plot.roc_curve([0, 1, 1], [[0.1, 0.9], [0.5, 0.5]])
    with pytest.raises(IndexError):
        plot.pr_curve([0, 1], [0.1, 0.9])


def test_a_confusion_matrix_without_numpy_counts_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities = [[0.5, 0.5], [0.1, 0.9], [0.8, 0.2]]
    with_numpy = plot.confusion_matrix(probs=probabilities, y_true=[0, 1, 1]).table.data
    monkeypatch.delitem(__import__("sys").modules, "numpy", raising=False)
    assert plot.confusion_matrix(probs=probabilities, y_true=[0, 1, 1]).table.data == with_numpy
    assert with_numpy == [["Class_1", "Class_1", 1.0], ["Class_1", "Class_2", 0.0], ["Class_2", "Class_1", 1.0],
                          ["Class_2", "Class_2", 1.0]]  # fmt: skip


def test_a_curves_table_is_not_known_here() -> None:
    chart = plot.roc_curve([0, 1], [[0.1, 0.9], [0.5, 0.5]])
    assert chart is not None
    with pytest.raises(client.UnsupportedError, match="computed by the daemon"):
        _ = chart.table


def test_the_summary_shows_a_chart_under_the_key_of_its_table() -> None:
    with testing.recording() as recorded:
        run = client.init(project="t")
        table = client.Table(columns=["a"], data=[[1]])
        run.log({"chart": plot.bar(table, "a", "a", split_table=True), "deep": {"other": plot.bar(table, "a", "a")}})
        run.finish()
    assert sorted(recorded.run.summary) == ["Custom Chart Tables/chart_table", "deep.other_table"]


def test_a_joined_table_checks_its_tables_and_key() -> None:
    with pytest.raises(ValueError, match="join_key"):
        client.JoinedTable(client.Table(), client.Table(), 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="table2"):
        client.JoinedTable("a.table.json", "b", "key")
