"""What a run's earlier .wandb files hold: everything that a new file must begin with to stand for the whole run.

wandb starts an offline run's next file from nothing, and `wandb sync` of that file then overwrites config and summary.
So a worker that comes after another one reads what is there and writes it again; rows and console output are
only counted, but for output of files that were made offline: it is kept until a file made online holds it, too.

Almost all of a long run's file are histories and wandb-core's summaries of them, three records a row. Of a history only
the step is looked at, unless a step metric is defined; summaries are decoded many at a time. What is kept does not grow
with the run's rows: of their steps the newest STEPS_REMEMBERED.
"""

from __future__ import annotations

import fnmatch
import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from client.protocol.records import Alert, Output, Saved
from telemetryd.runs import saved_files, wandb_file
from telemetryd.runs.limits import CARRIED_BEAT_RECORDS, SAMPLES_REMEMBERED, STEPS_REMEMBERED, SUMMARIES_AT_ONCE
from telemetryd.runs.notes import Folder
from telemetryd.runs.sink import sample_key
from telemetryd.runs.wandb_file import put

_INTERNAL = "_wandb"
_DRAWN = ("visualize", "viz")


@dataclass
class Carried:
    """The folded content of a run's files so far."""

    rows: int = 0
    steps: deque[int] = field(default_factory=lambda: deque(maxlen=STEPS_REMEMBERED))
    """Of the newest rows."""
    outputs: int = 0
    """Output records, each counted once: those of an online file are first those that offline ones before it hold."""
    unsent: deque[Output] = field(default_factory=deque)
    """Output that is in offline files only."""
    samples: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=SAMPLES_REMEMBERED))
    """The newest samples of machines, by sample_key."""
    alerts: int = 0
    """Alerts, each counted once, as output is."""
    unsent_alerts: deque[Alert] = field(default_factory=deque)
    """Alerts that are in offline files only."""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    """MetricRecord by name or glob."""
    step_values: dict[str, Any] = field(default_factory=dict)
    """Last value of every step metric: wandb adds it to rows that lack it (step_sync)."""
    artifacts: set[str] = field(default_factory=set)
    """Artifacts that offline files have, by the client's name for them."""
    drawn: dict[str, dict[str, Any]] = field(default_factory=dict)
    """How charts are drawn: the config's own part, by the name of its map there and by key."""
    name: str | None = None
    notes: str | None = None
    tags: list[str] | None = None
    saved: list[Saved] = field(default_factory=list)
    """The user's files in the earlier folders, the newest of each name."""
    pins: list[str] = field(default_factory=list)
    """Keys of the config that are pinned."""


def _key(item: Any) -> list[str]:
    return list(item.nested_key) or [item.key]


def _remove(tree: dict[str, Any], path: list[str]) -> None:
    for key in path[:-1]:
        inner = tree.get(key)
        if not isinstance(inner, dict):
            return
        tree = inner
    tree.pop(path[-1], None)


def _fold(record: Any, into: Carried, *, online: bool) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "history":
        into.rows += 1
        into.steps.append(record.history.step.num)
        wanted = {metric.step_metric for metric in into.metrics.values() if metric.step_metric}
        for item in record.history.item if wanted else ():
            if (name := ".".join(_key(item))) in wanted:
                into.step_values[name] = json.loads(item.value_json)
    elif kind == "config":
        for item in record.config.update:
            put(into.config, _key(item), json.loads(item.value_json))
        for item in record.config.remove:
            _remove(into.config, _key(item))
    elif kind == "metric":
        if not record.metric.expanded_from_glob:
            into.metrics[record.metric.name or record.metric.glob_name] = record.metric
    elif kind == "artifact":
        if not online:
            into.artifacts.add(record.artifact.client_id)
    elif kind == "run":
        run = record.run
        into.name, into.notes, into.tags = run.display_name or None, run.notes or None, list(run.tags)
        for item in run.config.update:
            put(into.config, _key(item), json.loads(item.value_json))
    elif kind == "stats":
        into.samples.append(
            sample_key(record.stats.timestamp.ToNanoseconds(), (item.key for item in record.stats.item))
        )
    elif kind == "alert":
        _fold_alert(record.alert, into, online=online)
    elif kind in ("output_raw", "output_logger"):
        if online and into.unsent:
            into.unsent.popleft()
            return
        into.outputs += 1
        if not online:
            into.unsent.append(_output(record))


def _fold_summary(summary: Any, into: Carried) -> None:
    for item in summary.update:
        put(into.summary, _key(item), json.loads(item.value_json))
    for item in summary.remove:
        _remove(into.summary, _key(item))


class _Summaries:
    """wandb-core's own summaries, put off until there are many: messages one behind the other are one message."""

    def __init__(self, into: Carried) -> None:
        self._into = into
        self._waiting: list[bytes] = []

    def add(self, record: bytes) -> None:
        self._waiting.append(wandb_file.message_of(record))
        if len(self._waiting) >= SUMMARIES_AT_ONCE:
            self.fold()

    def fold(self) -> None:
        waiting, self._waiting = self._waiting, []
        merged = wandb_file.summary(b"".join(waiting))
        if merged.remove:  # what is removed and set again, and what is set and then removed: in the order they came
            for one in waiting:
                _fold_summary(wandb_file.summary(one), self._into)
            return
        newest: dict[Any, Any] = {}
        for item in reversed(merged.update):
            newest.setdefault(item.key or tuple(item.nested_key), item)
        for item in reversed(newest.values()):  # the last setting of each path, in the order they came
            put(self._into.summary, _key(item), json.loads(item.value_json))


def _fold_alert(alert: Any, into: Carried, *, online: bool) -> None:
    if online and into.unsent_alerts:
        into.unsent_alerts.popleft()
        return
    into.alerts += 1
    if not online:
        into.unsent_alerts.append(Alert(alert.title, alert.text, alert.level, alert.wait_duration, 0))


def _output(record: Any) -> Output:
    if record.WhichOneof("record_type") == "output_logger":
        return Output("stdout", record.output_logger.line, 0)
    raw = record.output_raw
    return Output("stderr" if raw.output_type == raw.STDERR else "stdout", raw.line, raw.timestamp.ToNanoseconds())


def carried_from(folders: Sequence[Folder], alive: Callable[[], None] = lambda: None, archived: int = 0) -> Carried:
    """Read a run's files in the order they were made. A file that is gone counts as empty. `alive` is called now and
    then: ten million rows take minutes. The rows of the first `archived` folders have left the history: neither they
    nor what the summary said of them count."""
    carried = Carried()
    saved: dict[str, Saved] = {}
    summaries = _Summaries(carried)
    count = 0
    for number, folder in enumerate(folders):
        if number == archived:
            _forget_rows(carried, summaries)
        for record in wandb_file.RecordReader(folder.file).read():
            count += 1
            if count % CARRIED_BEAT_RECORDS == 0:
                alive()
            kind, _ = wandb_file.kind_of(record)
            if kind == wandb_file.SUMMARY:
                summaries.add(record)
            elif kind == wandb_file.HISTORY and not any(metric.step_metric for metric in carried.metrics.values()):
                carried.rows += 1
                carried.steps.append(wandb_file.step_in(record))
            else:
                _fold_other(wandb_file.parsed(record), folder, carried, saved)
    summaries.fold()
    if archived and archived == len(folders):
        _forget_rows(carried, summaries)
    carried.saved = list(saved.values())
    internal = carried.config.pop(_INTERNAL, None)
    if isinstance(internal, dict):
        carried.drawn = {name: internal[name] for name in _DRAWN if isinstance(internal.get(name), dict)}
    carried.pins = list(internal.get("pinned_keys") or []) if isinstance(internal, dict) else []
    carried.summary.pop(_INTERNAL, None)
    return carried


def _forget_rows(carried: Carried, summaries: _Summaries) -> None:
    summaries.fold()
    carried.rows = 0
    for what in (carried.steps, carried.step_values, carried.summary):
        what.clear()


def _fold_other(record: Any, folder: Folder, into: Carried, saved: dict[str, Saved]) -> None:
    if record.WhichOneof("record_type") == "files":
        saved |= {file.name: file for file in saved_files.saved_before(record.files, Path(folder.path))}
    else:
        _fold(record, into, online=folder.mode == "online")


def step_of_row(folders: Iterable[Folder], number: int) -> int | None:
    """The step of a run's row of this number, from 0; None where its files have fewer."""
    for folder in folders:
        for step in wandb_file.steps_in(folder.file):
            if number == 0:
                return step
            number -= 1
    return None


class StepValues:
    """Adds a step metric's last value of an earlier file to rows that lack it, until the run logs it itself."""

    def __init__(self, carried: Carried) -> None:
        self._values = dict(carried.step_values)
        self._globs = [
            (name, metric.step_metric)
            for name, metric in carried.metrics.items()
            if metric.step_metric and metric.options.step_sync
        ]

    def complete(self, data: dict[str, Any]) -> None:
        """Add what wandb would have added to this row in the process that it would still be."""
        for name in self._values.keys() & data.keys():
            del self._values[name]
        if not self._values:
            return
        for glob, step in self._globs:
            if step in self._values and step not in data and any(fnmatch.fnmatchcase(key, glob) for key in data):
                data[step] = self._values[step]
