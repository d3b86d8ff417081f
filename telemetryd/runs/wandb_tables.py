"""What wandb's tables keep private: column types, links, increments. A part of wandb_private.py, for its length.

Where wandb has changed, what is here raises AttributeError or ImportError: the table is lost, and counted;
`tests/contract/test_wandb_tables.py` fails before that is released.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator
from typing import Any

from telemetryd.runs import wandb_file
from telemetryd.runs.notes import Folder
from telemetryd.runs.table_artifacts import TableArtifacts

log = logging.getLogger(__name__)

_IN_ROWS = ("run_table", "wandb-run-incremental-table")
"""Types of the artifacts that wandb makes of tables in rows."""


def column_type(wire: dict[str, Any]) -> Any:
    """wandb's type of a column from its JSON form."""
    from wandb.sdk.data_types._dtypes import TypeRegistry

    return TypeRegistry.type_from_dict(wire)


def link_type(name: str, table: Any, column: str | None) -> Any:
    """The type of a column whose values are keys ("foreignKey") or row numbers ("foreignIndex") of another table."""
    from wandb.sdk.data_types.table import _ForeignIndexType, _ForeignKeyType

    return _ForeignKeyType(table, column) if name == "foreignKey" else _ForeignIndexType(table)


def complete_table(table: Any, infer: Iterable[int]) -> None:
    """A table was given its rows whole: tell its key cells whose they are, and its columns at the indexes `infer`,
    which hold media and tables, their whole types."""
    from wandb.sdk.data_types._dtypes import InvalidType

    types = table._column_types.params["type_map"]
    for index in infer:
        kind = types[table.columns[index]]
        for row in table.data:
            after = kind.assign(row[index])
            kind = kind if isinstance(after, InvalidType) else after
        types[table.columns[index]] = kind
    if table._pk_col is not None or table._fk_cols:
        table._apply_key_updates()


def set_increment(table: Any, number: int | None, before: list[str] | None, sent: int) -> None:
    """Say which increment a table is: its number (None: the first), the artifacts before it (None: wandb looks), and
    how many rows were in those."""
    table._increment_num = number
    table._previous_increments_paths = before
    table._last_logged_idx = sent - 1 if sent else None
    table._run_target_for_increments = None


class _Clock:
    def __init__(self, time_ns: int) -> None:
        self._time_ns = time_ns

    def time_ns(self) -> int:
        return self._time_ns


@contextlib.contextmanager
def increments_named_at(time_ns: int) -> Iterator[None]:
    """Increments logged inside are named by this time instead of now's: a worker that writes a row again, because the
    one before was killed on it, writes the same entry of the artifact and no second one."""
    from wandb.sdk.internal import incremental_table_util

    module: Any = incremental_table_util
    if getattr(module, "time", None) is not time:
        log.warning(
            "wandb_private_changed reason=%r effect=%r", "increments' names", "a replay may repeat an increment"
        )
        yield
        return
    module.time = _Clock(time_ns)
    try:
        yield
    finally:
        module.time = time


def keep_tables(run: Any, kept: TableArtifacts) -> None:
    """From here on the artifacts of tables in rows are written down before wandb-core gets them, and marked when W&B
    has committed or refused them. Of an online run."""
    interface = run._interface
    deliver = interface._deliver_artifact

    def keeping(request: Any) -> Any:
        name = request.artifact.client_id
        if request.artifact.type not in _IN_ROWS:
            return deliver(request)
        _write_down(kept, request)
        handle = deliver(request)

        async def wait() -> None:
            try:
                result = await handle.wait_async(timeout=None)
            except Exception as error:  # noqa: BLE001 - wandb-core is gone, the next one gets it
                log.info("table_open name=%s reason=%r", name, type(error).__name__)
                return
            said = result.response.log_artifact_response.error_message
            if said:
                kept.refused(said)
            else:
                kept.committed(name)

        handle.asyncer.run_soon(wait, daemon=True)
        return handle

    interface._deliver_artifact = keeping


def _write_down(kept: TableArtifacts, request: Any) -> None:
    try:
        kept.add(request.artifact.client_id, request.SerializeToString())
    except OSError as error:
        log.error("table_not_kept name=%s reason=%r", request.artifact.name, f"{error}: a kill may lose the table")


def send_tables_again(run: Any, kept: TableArtifacts, folders: Iterable[Folder]) -> None:
    """Hand the artifacts of tables over that earlier workers did not see committed; after `keep_tables`.

    Those of `folders`, whose files were made offline, are written down first.
    """
    from wandb.proto import wandb_internal_pb2 as pb
    from wandb.sdk.artifacts.staging import get_staging_dir

    waiting = []
    for data in kept.stored():
        request = pb.LogArtifactRequest()
        request.ParseFromString(data)
        if kept.take(request.artifact.client_id, data):
            waiting.append(request)
    for folder in folders:
        for record in wandb_file.records(folder.file):
            if record.WhichOneof("record_type") == "artifact" and record.artifact.type in _IN_ROWS:
                request = pb.LogArtifactRequest(artifact=record.artifact, staging_dir=get_staging_dir())
                _write_down(kept, request)
                waiting.append(request)
    for request in waiting:
        run._interface._deliver_artifact(request)
    if waiting:
        log.info("tables_sent_again count=%d", len(waiting))
