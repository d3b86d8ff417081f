"""What telemetryd uses of wandb's tables that is private: this fails loudly when wandb changes it."""

from __future__ import annotations

import time

import pytest

from telemetryd.runs import wandb_tables
from telemetryd.runs.media.tables import Increment
from tests.support.requirements import require_module

require_module("wandb")


def test_a_table_made_of_types_and_rows_is_the_one_that_wandb_makes_row_by_row() -> None:
    import wandb

    rows = [[1, "a", None], [2, "b", [1, 2]]]
    expected = wandb.Table(columns=["n", "s", "l"], data=rows)
    kinds = [expected._column_types.params["type_map"][name].to_json() for name in expected.columns]
    types = [wandb_tables.column_type(kind) for kind in kinds]
    made = wandb.Table(columns=["n", "s", "l"], data=[], dtype=types, optional=False)
    made.data = rows
    wandb_tables.complete_table(made, ())
    assert made._eq_debug(expected, should_assert=True)


def test_columns_of_media_are_typed_by_the_media_in_them() -> None:
    import wandb

    table = wandb.Table(
        columns=["h"], data=[], dtype=[wandb_tables.column_type({"wb_type": "unknown"})], optional=False
    )
    table.data = [[wandb.Html("<b>")]]
    wandb_tables.complete_table(table, [0])
    assert table._column_types.params["type_map"]["h"].name == "html-file"


def test_an_increment_counts_all_rows_and_writes_its_own() -> None:
    import wandb

    table = wandb.Table(columns=["a"], data=[], log_mode="INCREMENTAL")
    table.data = Increment([[2], [3]], 2)
    wandb_tables.set_increment(table, 1, ["before"], 2)
    assert len(table.data) == 4
    assert table._to_table_json() == {"columns": ["a"], "data": [[2], [3]]}
    assert (table._increment_num, table._previous_increments_paths) == (1, ["before"])


def test_links_know_their_table() -> None:
    import wandb

    keyed = wandb.Table(columns=["k"], data=[["a"]])
    keyed.set_pk("k")
    kinds = [wandb_tables.link_type("foreignKey", keyed, "k"), wandb_tables.link_type("foreignIndex", keyed, None)]
    linked = wandb.Table(columns=["key", "row"], data=[], dtype=kinds, optional=False)
    linked.data = [["a", 0]]
    wandb_tables.complete_table(linked, ())
    key, row = linked.data[0]
    assert key._table is keyed
    assert row.get_row() == {"k": "a"}


def test_increments_are_named_by_the_time_that_is_given(caplog: pytest.LogCaptureFixture) -> None:
    import wandb
    from wandb.sdk.internal import incremental_table_util

    table = wandb.Table(columns=["a"], log_mode="INCREMENTAL")
    with wandb_tables.increments_named_at(1_700_000_000_123_456_789):
        assert incremental_table_util.get_entry_name(table, "key") == "None-1700000000123.key"
    assert incremental_table_util.time is time
    assert not caplog.records


def test_the_artifact_of_a_table_in_a_row_is_handed_over_where_we_keep_it() -> None:
    from wandb.proto import wandb_internal_pb2 as pb
    from wandb.sdk.artifacts.staging import get_staging_dir
    from wandb.sdk.data_types import utils
    from wandb.sdk.interface.interface_shared import InterfaceShared
    from wandb.sdk.internal import incremental_table_util
    from wandb.sdk.mailbox.mailbox_handle import MailboxHandle

    assert callable(InterfaceShared._deliver_artifact)
    assert callable(get_staging_dir)
    assert callable(MailboxHandle.wait_async)
    assert {"artifact", "staging_dir"} <= set(pb.LogArtifactRequest.DESCRIPTOR.fields_by_name)
    assert {"client_id", "type"} <= set(pb.ArtifactRecord.DESCRIPTOR.fields_by_name)
    assert "error_message" in pb.LogArtifactResponse.DESCRIPTOR.fields_by_name
    made = {wandb_tables._IN_ROWS[0]: utils._log_table_artifact.__code__.co_consts}
    assert all(kind in constants for kind, constants in made.items())
    assert wandb_tables._IN_ROWS[1] == incremental_table_util.ART_TYPE
