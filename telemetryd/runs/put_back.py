"""Rows that an upload may have lost, put back where they belong.

An answer that makes no sense is taken for success by wandb-core: the rows of that request may be nowhere, and the next
request leaves a gap before it that the server's line count does not show. Lines lie at their offsets, so sending all
that could be missing once more changes nothing where it is there already.
"""

from __future__ import annotations

import itertools
import json
import logging
from pathlib import Path

from telemetryd.runs.core_log import CoreLog
from telemetryd.runs.limits import PUT_BACK_ROWS
from telemetryd.runs.notes import Folder
from telemetryd.runs.wandb_file import history_rows
from telemetryd.runs.wandb_server import RunName, Server

log = logging.getLogger(__name__)


def put_back(server: Server, name: RunName, file: Path, base: int, first: int, last: int) -> int:
    """Send the rows `first` up to and without `last` of a .wandb file, whose first row is the server's line `base`; up
    to which row that was possible.

    Raises ServerError; what was sent until then is there.
    """
    rows = itertools.islice(history_rows(file), first, last)
    at = base + first
    while lines := [json.dumps(row) for _, row in itertools.islice(rows, PUT_BACK_ROWS)]:
        server.put_lines(name, at, lines)
        at += len(lines)
    if at > base + first:
        log.warning(
            "rows_put_back run=%s first=%d last=%d reason=%r", name.run, base + first, at, "an answer made no sense"
        )
    return at - base


def put_back_earlier(server: Server, name: RunName, folders: list[Folder], lines: int) -> None:
    """The same for what earlier workers, which may have died amid it, had uploaded into the server's `lines` lines.
    Noted in the folders: their logs grow no more.
    """
    for folder in folders:
        if folder.put_back:
            continue
        core_log = CoreLog(Path(folder.path) / "logs" / "debug-internal.log")
        core_log.read(0.0)
        if folder.mode == "online" and core_log.garbage and lines > folder.base:
            put_back(server, name, Path(folder.file), folder.base, 0, lines - folder.base)
        folder.put_back = True
