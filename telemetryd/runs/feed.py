"""From stored batches to records: checks each record's checksum and decodes it.

A damaged record, or one of an unknown kind, costs itself only: the next one is found by its length. A damaged row is
counted as dropped "corrupt", because it was counted as offered when it came.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from client.protocol import framing, records
from client.protocol.errors import ProtocolError
from client.protocol.records import AnyRecord
from telemetryd.inbox.reader import StoredBatch

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Losses:
    """What could not be decoded so far. `rows` are `log` calls; `others` are records of any other kind."""

    rows: int = 0
    others: int = 0


def decoded(batch: StoredBatch, losses: Losses) -> Iterator[tuple[AnyRecord, memoryview]]:
    """Yield each record of a batch with its body as it came. What cannot be read is counted in `losses` and logged."""
    view = memoryview(batch.body)
    rows = 0
    try:
        for sequence, body in framing.bodies(view, batch.first):
            if body is None:
                rows += _lost(batch, sequence, "checksum", _damaged(view, sequence - batch.first), losses)
                continue
            try:
                record = records.decode(memoryview(body))
            except (msgspec.MsgspecError, ValueError) as error:
                rows += _lost(batch, sequence, str(error), body, losses)
                continue
            if type(record) is records.Row:
                rows += 1
            yield record, memoryview(body)
    except ProtocolError as error:
        missing = max(0, batch.rows - rows)  # what came was counted when it was stored
        losses.rows += missing
        log.error("batch_cut batch=%d session=%s rows=%d reason=%r", batch.number, batch.session, missing, str(error))


def _damaged(view: memoryview, index: int) -> memoryview:
    for number, (start, end) in enumerate(framing.spans(view)):
        if number == index:
            return view[start:end]
    raise IndexError(index)


def _lost(batch: StoredBatch, sequence: int, reason: str, body: framing.Buffer, losses: Losses) -> int:
    is_row = records.is_row(memoryview(body))
    if is_row:
        losses.rows += 1
    else:
        losses.others += 1
    log.error(
        "record_corrupt batch=%d session=%s record=%d row=%s reason=%r",
        batch.number,
        batch.session,
        sequence,
        is_row,
        reason,
    )
    return int(is_row)
