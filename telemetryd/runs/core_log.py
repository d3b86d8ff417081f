"""What wandb-core says about its uploads in logs/debug-internal.log; it says it nowhere else.

    {"msg":"filestream: fatal error: … 401 Unauthorized url=…"}           nothing more is sent, ever
    {"msg":"filestream: json decode error: …"}                            an answer without sense, taken for success
    {"msg":"api: retrying HTTP error","status":500,"url":"…/file_stream"} it tries again, with pauses
    {"msg":"api: retrying error","error":"…"}                             the same without an answer

A hint, not a proof: where wandb words it otherwise nothing is found, and the server's line count alone decides.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from telemetryd.runs.limits import CORE_LOG_READ_BYTES

_FATAL = "filestream: fatal error"
_GARBAGE = "filestream: json decode error"
_RETRY = "api: retrying"
_STATUS = re.compile(r"failed to upload: (\d{3})\b")


class CoreLog:
    """Reads the log as it grows. Times are seconds of the caller's clock, of when a line was read."""

    def __init__(self, path: Path | None) -> None:
        """`path` None: there is no log, and nothing is ever found."""
        self._path = path
        self._position = 0
        self._rest = b""
        self.fatal: str | None = None
        """Why wandb-core has given the upload up."""
        self.fatal_status: int | None = None
        """The HTTP status of that, where there is one."""
        self.garbage = 0
        """Answers without sense so far."""
        self.garbage_at_s: float | None = None
        """When the last answer without sense was seen."""
        self.retry_at_s: float | None = None
        """When the last try that failed was seen."""
        self.retry_reason = ""
        """Why it failed: a status, or the network's error."""

    def read(self, now_s: float) -> None:
        """Look at what is new. An unreadable log counts as an empty one."""
        if self._path is None:
            return
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                while data := file.read(CORE_LOG_READ_BYTES):
                    self._position += len(data)
                    self._take_all(data, now_s)
        except OSError:
            return

    def _take_all(self, data: bytes, now_s: float) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if b"filestream: " in line or b"api: retrying" in line:
                self._take(line, now_s)

    def _take(self, line: bytes, now_s: float) -> None:
        try:
            entry: Any = json.loads(line)
            message = str(entry["msg"])
        except (ValueError, KeyError, TypeError):
            return
        if message.startswith(_FATAL):
            self.fatal = message.removeprefix("filestream: ")[:300]
            found = _STATUS.search(message)
            self.fatal_status = int(found[1]) if found else None
        elif message.startswith(_GARBAGE):
            self.garbage += 1
            self.garbage_at_s = now_s
        elif message.startswith(_RETRY) and "file_stream" in str(entry.get("url", "file_stream")):
            self.retry_at_s = now_s
            self.retry_reason = str(entry.get("status") or entry.get("error") or message)[:200]
