"""Files of runs in W&B for clients that restore them: downloaded once a ticket, and handed out in pieces.

A ticket is a client's word for one `restore`. Its file lies in this process's temporary folder until its last piece was
handed out, or until TICKET_IDLE_S has passed without a question.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from telemetryd.runs.limits import PIECE_BYTES, TICKET_IDLE_S

log = logging.getLogger(__name__)


class _Ticket:
    """One file on its way. `state`: "running", "ready", "absent" or "failed"."""

    def __init__(self) -> None:
        self.state = "running"
        self.error: Exception | None = None
        self.file = Path()
        self.folder = Path(tempfile.mkdtemp(prefix="restore-"))
        self.asked_s = time.monotonic()

    def fetch(self, find_run: Callable[[], Any], name: str) -> None:
        """On a thread of its own."""
        try:
            files = list(find_run().files([name]))
            if not files:
                self.state = "absent"
                return
            if files[0].md5 == "0":
                raise ValueError(f"File {name} not found in W&B: the run knows its name only.")
            files[0].download(root=str(self.folder), replace=True).close()
            self.file = self.folder / name
            self.state = "ready"
        except Exception as error:  # noqa: BLE001 - told to the client
            self.error, self.state = error, "failed"


class RunFiles:
    """Answers the question `run_file`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tickets: dict[str, _Ticket] = {}

    def piece(self, args: dict[str, Any], find_run: Callable[[], Any]) -> dict[str, Any]:
        """The piece at `offset` of the file `file`, or how far its download is. Raises what the download raised."""
        name, key, offset = str(args["file"]), str(args["ticket"]), int(args["offset"])
        with self._lock:
            self._forget_idle()
            ticket = self._tickets.get(key)
            if ticket is None:
                ticket = self._tickets[key] = _Ticket()
                thread = threading.Thread(target=ticket.fetch, args=(find_run, name), name="restore", daemon=True)
                thread.start()
            else:
                thread = None
            ticket.asked_s = time.monotonic()
        if thread is not None:
            thread.join(0.5)
        if ticket.state == "running":
            return {"state": "running"}
        if ticket.state != "ready":
            self._forget(key)
            if ticket.error is not None:
                raise ticket.error
            return {"state": "absent"}
        size = ticket.file.stat().st_size
        with ticket.file.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(PIECE_BYTES)
        if offset + len(data) >= size:
            self._forget(key)
        return {"state": "ready", "size": size, "data": data}

    def _forget(self, key: str) -> None:
        with self._lock:
            ticket = self._tickets.pop(key, None)
        if ticket is not None:
            shutil.rmtree(ticket.folder, ignore_errors=True)

    def _forget_idle(self) -> None:
        now_s = time.monotonic()
        for key, ticket in list(self._tickets.items()):
            if ticket.state != "running" and now_s - ticket.asked_s > TICKET_IDLE_S:
                del self._tickets[key]
                shutil.rmtree(ticket.folder, ignore_errors=True)
