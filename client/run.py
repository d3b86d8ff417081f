"""The run that `init` returns: wandb's Run, writing to a session's stream.

Nothing here waits for the daemon except `finish`, `flush`, `url`, `project_url` and `dir`, each with a bound. `config`
and `summary` are mirrors.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any

import msgspec

from client import amounts, metrics
from client.config import Config
from client.exit_hooks import hooks
from client.limits import ABSENT_TIMEOUT_S, CLOSING_TIMEOUT_S, FINISH_TIMEOUT_S
from client.metrics import Metric
from client.protocol import records
from client.protocol.messages import Report, RunSpec
from client.report import FinishReport, finish_report
from client.run_actions import RunActions
from client.run_files import RunFiles
from client.settings import RunSettings
from client.stream import Stream
from client.summary import Summary, SummaryStore, as_shown
from client.summary_mirror import SummaryMirror
from client.values import encode_row_data

_living: weakref.WeakSet[Run] = weakref.WeakSet()


class Run(RunActions, RunFiles):
    """A run, as in wandb: `log`, `config`, `summary`, `define_metric`, `finish`, and what it is called.

    Thread-safe. In a forked child the run is silent: `log` counts the call and returns.
    """

    def __init__(
        self, spec: RunSpec, stream: Stream, settings: RunSettings, on_end: Callable[[Run, int], None]
    ) -> None:
        super().__init__(spec, stream, settings)
        self._on_end = on_end
        self._ending = threading.Lock()
        self._config = Config(self._config_changed)
        self.summary = Summary(SummaryStore(self._history.read_summary, self._summary_changed, self._history.encode))
        self.__dict__["log"] = self._history.log  # one call less on the hot path; `Run.log` documents it
        _living.add(self)

    # What is recorded

    @property
    def config(self) -> Config:
        """The run's inputs; see Config."""
        return self._config

    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Record a row of values: `run.log({"loss": 0.3})`.

        Without `step`, each call is the next step; `commit=False` leaves the row open for the next call. With `step`,
        rows of one step are merged, until a later step or `commit=True`.

        Takes numbers, str, bool, None, lists, dicts, numpy and torch values, captured now. Costs about a microsecond,
        waits for nothing. Raises TypeError for a `data` that is no mapping, a key that is no str or a value that wandb
        cannot store, and UsageError after `finish`.
        """
        self._history.log(data, step, commit)

    def define_metric(
        self,
        name: str,
        step_metric: str | Metric | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        overwrite: bool | None = None,
    ) -> Metric:
        """Say how W&B shows a metric: its x axis (`step_metric`), its summary ("min", "max", "mean", "last", "first",
        "none", joined by commas). A `name` that ends in * means every metric that begins so.

        Raises Error for wrong arguments, UsageError after `finish`.
        """
        open_ = self._history.check_open("define_metric")
        metric = metrics.checked(name, step_metric, step_sync, hidden, summary, overwrite)
        if open_:
            rule = [op for op in metric.summary or () if op != "copy"]
            self._history.emit(metric.record(), lambda mirror: mirror.add_rule(metric.name, rule, bool(overwrite)))
        return metric

    def write_logs(self, text: str) -> None:
        """Add lines to the run's Logs tab. Ignored after `finish`."""
        if self._report is None and not self._forked:
            text = text if text.endswith("\n") else f"{text}\n"
            self._history.emit(records.Output("logs", text, time.time_ns()))

    def _config_changed(self, update: dict[str, Any]) -> None:
        if self._history.check_open("config"):
            update = {key: msgspec.Raw(encode_row_data(value)) for key, value in update.items()}
            self._history.emit(records.Config(update))

    def _summary_changed(self, update: list[tuple[list[str], Any]], remove: list[list[str]]) -> None:
        if not self._history.check_open("summary"):
            return

        def change(mirror: SummaryMirror) -> None:
            for path, value in update:
                mirror.set_by_hand(path, as_shown(value))
            for path in remove:
                mirror.remove(path)

        self._history.emit(records.Summary(update, remove), change)

    # How it ends

    def flush(self, timeout: float | str | None = None, *, timeout_s: float | None = None) -> bool:
        """Wait until the daemon has everything logged so far on its disk; False when it has not after `timeout`.

        `timeout` is in seconds, or a str like "5min"; 60 s by default. `timeout_s` is the same. Raises UsageError for
        what is no duration.
        """
        limit_s = amounts.timeout_s(timeout, timeout_s, FINISH_TIMEOUT_S)
        return not self._forked and self._stream.wait_acked(limit_s)

    def finish(
        self,
        exit_code: int | None = None,
        quiet: bool | None = None,
        *,
        timeout: float | str | None = None,
        timeout_s: float | None = None,
    ) -> FinishReport:
        """End the run, and say where its rows are. Returns within `timeout` (as for `flush`); the daemon goes on with
        what is pending.

        Without a daemon it returns at once: the rows wait in the spool. A second call returns the same report. Raises
        UsageError for what is no duration.
        """
        limit_s = amounts.timeout_s(timeout, timeout_s, FINISH_TIMEOUT_S)
        if self._forked:
            return FinishReport()
        code = exit_code or hooks.exit_code or 0
        report = self._end(code, implicit=False, timeout_s=limit_s)
        if not (self._resolved.silent or (self._resolved.quiet if quiet is None else quiet)):
            print_once(self, report)
        return report

    def _end_unfinished(self, exit_code: int, timeout_s: float) -> None:
        """The interpreter exits and nobody called `finish`: ship what is left, leave the rest in the spool."""
        if not self._forked:
            self._end(exit_code, implicit=True, timeout_s=timeout_s)

    def _adopt_config(self, config: Config, *, send: bool) -> None:
        """Take over what `init` was given; `send` when it did not fit into the Hello."""
        if send:
            self._config.update(config.as_dict())
        else:
            self._config.__dict__["_items"].update(config.as_dict())
        self._config.__dict__["_locked"].update(config.__dict__["_locked"])

    def _end(self, exit_code: int, *, implicit: bool, timeout_s: float) -> FinishReport:
        with self._ending:
            if self._report is None:
                deadline_s = time.monotonic() + timeout_s
                if self._watching is not None:
                    self._watching.drain(timeout_s)
                if self._saving is not None:
                    self._saving.close()
                self._settle_artifacts(timeout_s)
                self._history.end("finished")
                self._stream.record(records.End(time.time_ns(), exit_code, implicit))
                try:
                    self._report = self._drain(implicit, deadline_s)
                finally:
                    self._on_end(self, exit_code)
            return self._report

    def _drain(self, implicit: bool, deadline_s: float) -> FinishReport:
        stream = self._stream

        def left_s() -> float:
            return max(0.0, deadline_s - time.monotonic())

        acked = False
        if stream.connected or stream.wait_connected(min(ABSENT_TIMEOUT_S, left_s())):
            acked = stream.wait_acked(left_s())
        if acked and not implicit:
            offered = stream.ledger.offered
            stream.wait_report(lambda report: _is_settled(report) or _has_all(report, offered), left_s())
            patience_s = left_s() if self._artifact_tally().get("pending") else min(CLOSING_TIMEOUT_S, left_s())
            stream.wait_report(_is_settled, patience_s)
        self._close_artifacts(left_s())
        report = stream.report
        folder = str(stream.folder) if stream.folder else None
        closed = stream.close(left_s() if stream.connected else 0.0)
        found = finish_report(stream.ledger, report, acked or closed, folder)
        return msgspec.structs.replace(found, artifacts=self._artifact_tally())

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            traceback.print_exception(kind, error, trace)  # as wandb: the run's Logs end with it
        self.finish(exit_code=0 if kind is None else 1)

    def __repr__(self) -> str:
        return f"<Run {self.path} ({'finished' if self._report is not None else 'active'})>"

    def _orphan(self) -> None:
        self._forked = True
        self._ending = threading.Lock()
        self._history.orphan()
        if self._watching is not None:
            self._watching.orphan()
        if self._saving is not None:
            self._saving.orphan()
        self._orphan_artifacts()


def print_once(run: Run, report: FinishReport) -> None:
    """Tell the report on stderr, the first time. `telemetryd run` tells it itself, with more, when delivery is over."""
    if os.environ.get("TELEMETRYD_LAUNCH") and report.state in ("finished", "delivering"):
        return
    if not run.__dict__.get("_told"):
        run.__dict__["_told"] = True
        print(report, file=sys.stderr, flush=True)


def _is_settled(report: Report) -> bool:
    return report.state in ("finished", "refused")


def _has_all(report: Report, offered: int) -> bool:
    return report.pending == 0 and report.offered >= offered


def _silence_in_child() -> None:
    for run in list(_living):
        run._orphan()


os.register_at_fork(after_in_child=_silence_in_child)
