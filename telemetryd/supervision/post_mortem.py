"""The files that are left with a run of which a training process crashed. Pure: what is known goes in, bytes come out.

    telemetryd/post-mortem/<UTC time>-<process>[-rank<n>]/
        report.json     who, when, why, at which step; what was raised before; the newest value of everything sampled
        samples.jsonl   the last minutes at 1 Hz, one reading a line, oldest first
        console.txt     what the run printed last
        stacks.txt      where its threads stood, when they were asked for before (no_progress)

Every file is bounded (telemetryd/limits.py); what is cut off is the oldest.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from telemetryd.health.events import Event
from telemetryd.health.exit_cause import Cause
from telemetryd.limits import POST_MORTEM_SAMPLES_BYTES, STACKS_MAX_BYTES, TAIL_MAX_CHARS
from telemetryd.sampling.messages import Reading

FOLDER = "telemetryd/post-mortem"


@dataclass(frozen=True)
class Crash:
    """A training process that ended without `finish()`."""

    run: str
    time_ns: int
    cause: Cause
    pid: int
    host: str
    rank: int | None = None
    step: int | None = None
    console: str = ""
    stacks: str = ""
    events: Sequence[Event] = ()
    readings: Sequence[Reading] = ()
    latest: Mapping[str, Mapping[str, tuple[float, int]]] = field(default_factory=dict)
    """As telemetryd.sampling.machine.Machine.latest gives it."""


def folder(crash: Crash) -> str:
    """Where a crash's files lie among the run's files."""
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(crash.time_ns / 1e9))
    return f"{FOLDER}/{when}-{crash.pid}" + (f"-rank{crash.rank}" if crash.rank is not None else "")


def files(crash: Crash) -> dict[str, bytes]:
    """Content by name; what there is nothing of is left out."""
    made = {"report.json": json.dumps(_report(crash), indent=1).encode()}
    if samples := _samples(crash.readings):
        made["samples.jsonl"] = samples
    if crash.console:
        made["console.txt"] = crash.console[-TAIL_MAX_CHARS:].encode("utf-8", "replace")
    if crash.stacks:
        made["stacks.txt"] = crash.stacks[:STACKS_MAX_BYTES].encode("utf-8", "replace")
    return made


def _report(crash: Crash) -> dict[str, Any]:
    cause = crash.cause
    told = {
        "run": crash.run,
        "time": _time(crash.time_ns),
        "pid": crash.pid,
        "host": crash.host,
        "rank": crash.rank,
        "step": crash.step,
        "cause": cause.kind,
        "what": f"the training process {cause.text}",
        "signal": cause.signal,
        "exit_code": cause.exit_code,
        "advice": cause.advice,
    }
    return {
        **{name: value for name, value in told.items() if value is not None and value != ""},
        "events": [{**event.as_map(), "time": _time(event.time_ns)} for event in crash.events],
        "newest_samples": {
            scope: {name: value for name, (value, _) in values.items() if math.isfinite(value)}
            for scope, values in crash.latest.items()
        },
    }


def _samples(readings: Iterable[Reading]) -> bytes:
    lines: list[bytes] = []
    size = 0
    for reading in sorted(readings, key=lambda reading: reading.time_ns, reverse=True):
        values = {name: round(value, 4) for name, value in reading.values.items() if math.isfinite(value)}
        line = json.dumps({"time": _time(reading.time_ns), "scope": reading.scope, **values}).encode() + b"\n"
        size += len(line)
        if size > POST_MORTEM_SAMPLES_BYTES:
            break
        lines.append(line)
    return b"".join(reversed(lines))


def _time(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 10**6:03d}Z"
