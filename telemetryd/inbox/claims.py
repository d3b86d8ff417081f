"""What a Hello and a Batch must be before the inbox takes them, wherever they come from: the wire or a spool folder."""

from __future__ import annotations

import re

from client.protocol.messages import Batch, Hello
from telemetryd.limits import NAME_MAX_BYTES, SQLITE_INT_MAX

_ID = re.compile(r"[0-9a-f]{32}")


def hello_problem(hello: Hello) -> str | None:
    """Why a Hello cannot be taken, None when it can. Sessions and run ids become file names: nothing else passes."""
    if not _ID.fullmatch(hello.session):
        return "a session is 32 hexadecimal digits"
    if hello.launch is not None and not _ID.fullmatch(hello.launch):
        return "a launch is 32 hexadecimal digits"
    if hello.role not in ("train", "console", "node"):
        return f"unknown role {hello.role[:40]!r}; roles are train, console and node"
    if hello.rank is not None and not 0 <= hello.rank < hello.world_size <= SQLITE_INT_MAX:
        return "a rank is a number below its world size"
    if not (0 <= hello.pid <= SQLITE_INT_MAX and 0 <= hello.start_time_ns <= SQLITE_INT_MAX):
        return "pid or start time is no such number"
    if hello.role == "console":
        return None if hello.launch else "a console names its launch"
    return _run_problem(hello)


def _run_problem(hello: Hello) -> str | None:
    run = hello.run
    if run is None:
        return "a session of training or of a node names its run"
    if not run.run_id:
        return "a run has an id"
    for part, value in (("run id", run.run_id), ("project", run.project), ("entity", run.entity)):
        if value and ("/" in value or "\0" in value or len(value.encode("utf-8", "replace")) > NAME_MAX_BYTES):
            return f"the {part} {value[:40]!r} has a slash or is longer than {NAME_MAX_BYTES} bytes"
    if run.directory and not run.directory.startswith("/"):
        return f"the run's directory {run.directory[:80]!r} is no absolute path"
    return None


def batch_problem(batch: Batch) -> str | None:
    """Why a Batch's numbers cannot be, None when they can."""
    if batch.last > SQLITE_INT_MAX or not 0 <= batch.offered <= SQLITE_INT_MAX:
        return "sequence or row numbers are out of range"
    return None
