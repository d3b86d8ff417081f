"""The real sink: a wandb run in this process, written through wandb-core.

Invariants
* A row is confirmed when it can be read back from the run's .wandb file and, online, W&B's server has it; what is
  published beside rows is confirmed when the file holds as many of its kind as were published.
* The folder is noted (notes.py) before the first row goes into it, so a later worker reads every file of this run and
  no file of anybody else.
* Values reach wandb's own conversion, so the file holds them exactly as wandb stores them.
"""

from __future__ import annotations

import datetime
import logging
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from client.protocol.messages import RunSpec
from client.protocol.records import Alert, Attributes, Config, Metric, Output, Pins, Process, Saved, Summary
from telemetryd.errors import ApiKeyError
from telemetryd.runs import (
    predecessor,
    process_facts,
    rewinds,
    saved_files,
    wandb_private,
    wandb_settings,
    wandb_tables,
)
from telemetryd.runs.alerts import AlertTimes
from telemetryd.runs.carried import Carried, StepValues, carried_from, step_of_row
from telemetryd.runs.control import REWIND, Started, Trouble
from telemetryd.runs.errors import RowRefusedError, ServerError, SinkError, SinkPermanentError
from telemetryd.runs.limits import (
    FAST_BATCH_ROWS,
    KEY_POLL_S,
    PREDECESSOR_POLL_S,
    SERVER_FINISH_S,
    SETTLE_TIMEOUT_S,
    STALL_NOTICE_S,
)
from telemetryd.runs.media.builder import MediaBuilder, is_rich
from telemetryd.runs.media.carry import carry_media
from telemetryd.runs.media.errors import FILE_MISSING, REFUSED, MediaLostError
from telemetryd.runs.notes import Folder, Notebook, Rewind
from telemetryd.runs.online import DEFAULT_PROJECT, Approach, Upload, approach, core_log_of
from telemetryd.runs.process_facts import ProcessFacts
from telemetryd.runs.put_back import put_back_earlier
from telemetryd.runs.rows import FinishedRow
from telemetryd.runs.samples_endpoint import SamplesEndpoint
from telemetryd.runs.sink import Existing, Position
from telemetryd.runs.table_artifacts import TableArtifacts
from telemetryd.runs.wandb_artifacts import WandbArtifacts
from telemetryd.runs.wandb_file import Tally, history_rows
from telemetryd.runs.wandb_server import RunName
from telemetryd.runs.wire_values import revive, revive_row
from telemetryd.settings import api_key

log = logging.getLogger(__name__)

_ROW_KEYS = frozenset({"_step", "_runtime", "_timestamp"})
_BROKEN = (ConnectionError, BrokenPipeError, EOFError)


class WandbSink:
    """See the module's head; the methods are those of sink.Sink."""

    def __init__(
        self,
        spec: RunSpec,
        notebook: Notebook,
        *,
        fallback_dir: Path,
        start_time_ns: int,
        media: MediaBuilder,
        trust_paths: bool = False,
        facts: ProcessFacts | None = None,
        on_stop: Callable[[], None] | None = None,
        sampled: bool = False,
        tables: TableArtifacts | None = None,
        upload_limit: Callable[[], Mapping[str, Any]] | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """`sampled`: the daemon samples the machine, and wandb is not to. `trust_paths`: clients are this machine's own
        user, so that paths of theirs may be followed. `tables` keeps those in rows until W&B has them. `upload_limit`
        gives wandb's settings that hold the rate of uploads, and raises OSError.

        `start_time_ns` is the training's start, since the Unix epoch; `facts` tell of its process. `on_stop` is
        called, on a thread of wandb's, when somebody presses W&B's stop button, `alive` now and then while `open` takes
        long."""
        self._spec = spec
        self._notebook = notebook
        self._fallback_dir = fallback_dir
        self._start_time_ns = start_time_ns
        self._media = media
        self._trust_paths = trust_paths
        self._on_stop = on_stop
        self._tables = tables
        self._upload_limit = upload_limit
        self._alive = alive
        self._facts = facts
        self._console_off = spec.settings.get("console") == "off"
        self._process: Process | None = None
        self._approach = Approach()
        self._upload: Upload | None = None
        self._hurry = False
        self._file_moved_s = 0.0
        self._file_seen: tuple[int, int] = (0, 0)
        self._key_looked_s = 0.0
        self._run: Any = None
        self._tally = Tally("")
        self._rows = 0
        self._batch: wandb_private.HistoryBatch | None = None
        self._published: wandb_private.Published | None = None
        self._carried = Carried()
        self._step_values = StepValues(self._carried)
        self._alert_times = AlertTimes()
        self._cores: list[int] = []
        self._starting_step = 0
        self._sent_again = 0
        self._shows_samples = wandb_private.stats_can_be_published()
        self._sampled = sampled and self._shows_samples
        self._endpoint: SamplesEndpoint | None = None
        if sampled and not self._shows_samples:
            self._open_endpoint()
        self._samples_lost = 0

    # -- opening ---------------------------------------------------------------------------------------------------

    def preflight(self) -> Trouble | None:
        """Find the key and ask the server about the run. Raises SinkPermanentError when somebody must act."""
        found = approach(self._spec, self._notebook, wandb_settings.server_url(os.environ), os.environ)
        if isinstance(found, Trouble):
            return found
        self._approach = found
        if found.lacks_key:
            log.warning("offline run=%s reason=%r", self._spec.run_id, "no W&B API key in the daemon: telemetryd login")
        return None

    def open(self) -> Started:
        """Start or resume the run. Raises SinkError."""
        folders = list(self._notebook.notes.folders)
        mode = "online" if self._approach.online else "offline"
        rewind = self._rewind()
        self._carried = carried_from(folders, self._alive, len(folders) if rewind else self._notebook.notes.archived)
        self._step_values = StepValues(self._carried)
        self._check_strangers(folders)
        if mode == "online" and not self._notebook.notes.begun:
            self._notebook.notes.begun = True
            self._notebook.save()
        process = self._facts.first() if self._facts is not None else None
        if process is not None:
            self._spec.metadata = {**self._spec.metadata, **process.facts}
        self._run = self._init(mode, rewind)
        run = self._run
        self._starting_step = int(run.starting_step or 0)
        self._upload = self._watch_upload(rewind)
        base = self._upload.base if self._upload is not None else 0
        folder = Folder(str(Path(run.dir).parent), str(run.settings.sync_file), mode, self._starting_step, base)
        self._tally = Tally(folder.file)
        if rewind is not None:
            self._notebook.archive(rewind)
        self._notebook.add_folder(folder)
        self._cores = predecessor.cores_of(os.getpid())
        self._open_private_doors()
        self._carry()
        self._put_process(process or Process())
        return Started(
            directory=folder.path,
            mode=mode,
            url=run.url if mode == "online" else None,
            name=run.name,
            entity=run.entity or None,
            project=run.project or None,
            resumed=bool(run.resumed) or len(folders) > 0,
            starting_step=self._starting_step,
            core_pid=self._cores[0] if self._cores else None,
        )

    def _rewind(self) -> Rewind | None:
        """What the run is to be rewound to now. Notes where it cannot be, or that it is tried."""
        rewind = self._notebook.notes.rewind
        if rewind is None or rewind.state != "asked":
            return None
        why = rewinds.hindrance(rewind, self._approach)
        if why is not None:
            rewinds.refuse(self._notebook, rewind, why)
            return None
        rewind.tries += 1
        self._notebook.save()
        return rewind

    def _not_rewound(self, rewind: Rewind, error: Exception) -> SinkError:
        """wandb could not: the server is gone, or does not want to."""
        name = RunName(self._spec.entity, self._spec.project or DEFAULT_PROJECT, self._spec.run_id)
        try:
            if self._approach.server is not None:
                self._approach.server.run(name)
        except ServerError as silence:
            rewind.tries -= 1
            self._notebook.save()
            return SinkError("unreachable", f"{silence}; rows are kept")
        rewinds.refuse(self._notebook, rewind, str(error))
        return SinkError(REWIND, f"{rewinds.refusal(rewind)}; the worker begins again")

    def _check_strangers(self, folders: list[Folder]) -> None:
        """A run that was offline here until now, and has rows of another origin on the server: nobody can say which of
        its steps are taken. Rows that `wandb sync` brought from these files are no strangers."""
        facts = self._approach.facts
        if facts is None or not facts.lines or not folders or any(folder.mode == "online" for folder in folders):
            return
        if facts.last_step is None or step_of_row(folders, facts.lines - 1) != facts.last_step:
            message = f"run {self._spec.run_id} has rows in W&B that are not from here, and rows here that it lacks"
            raise SinkPermanentError("strangers", f"{message} ({folders[0].path}): delete it there")

    def _watch_upload(self, rewind: Rewind | None) -> Upload | None:
        """Nothing may have come to the server since it was asked: a killed worker's last request may still be on its
        way, and wandb-core must begin behind it."""
        server, before = self._approach.server, self._approach.facts
        if server is None:
            return None
        project = str(self._run.project or self._spec.project or DEFAULT_PROJECT)
        name = RunName(str(self._run.entity or "") or self._spec.entity, project, self._spec.run_id)
        try:
            now = server.run(name)
        except ServerError as error:
            raise SinkError("unreachable", f"{error}; rows are kept") from error
        lines = now.lines if now is not None else 0
        last_step = now.last_step if now is not None else None
        moving = lines != (before.lines if before is not None else 0)
        if rewind is not None:
            moving = last_step is not None and last_step > rewind.step
        if moving:
            raise SinkError("moving", "rows of this run still come to W&B from elsewhere; the worker begins again")
        if (
            rewind is None
            and lines
            and last_step is not None
            and self._notebook.notes.folders
            and self._starting_step != last_step + 1
        ):
            message = f"wandb would go on at step {self._starting_step}, and W&B's last row has step {last_step}"
            raise SinkError("starting_step", f"{message}; the worker begins again")
        try:
            if rewind is None:
                put_back_earlier(server, name, self._notebook.notes.folders, lines)
        except ServerError as error:
            raise SinkError("unreachable", f"{error}; rows are kept") from error
        file = Path(str(self._run.settings.sync_file))
        return Upload(server, name, lines, core_log_of(self._run), self._notebook, file)

    def _init(self, mode: str, rewind: Rewind | None) -> Any:
        import wandb

        try:
            arguments = wandb_settings.init_arguments(self._spec, mode, self._fallback_dir, sampled=self._sampled)
        except ValueError as error:
            raise SinkPermanentError("config", f"the run's config cannot be rebuilt: {error}") from error
        Path(arguments["dir"]).mkdir(parents=True, exist_ok=True)
        _check_writable(arguments["dir"])
        if self._carried.config:
            arguments["config"] = {**arguments["config"], **self._carried.config}
        if mode == "offline":
            arguments["resume"] = None  # there is nobody to resume from; the earlier files are read instead
        elif self._approach.may_resume or self._notebook.notes.folders:
            arguments["resume"] = "allow"  # the rule was checked, or a worker before this one has begun the run
        facts = self._approach.facts
        if rewind is not None and not (rewind.tries > 1 and facts and (facts.last_step or 0) <= rewind.step):
            # else a worker before this one has rewound it, and could not note so
            arguments |= {"resume": None, "resume_from": f"{self._spec.run_id}?_step={rewind.step}"}
        settings = arguments.pop("settings") | (self._endpoint.settings if self._endpoint is not None else {})
        if self._upload_limit is not None and mode == "online":
            try:
                settings |= self._upload_limit()
            except OSError as error:
                raise SinkError("upload_limit", f"the limit on uploads cannot be held: {error}; rows wait") from error
        if self._on_stop is not None:
            on_stop = self._on_stop
            settings["stop_fn"] = lambda: on_stop()  # wandb copies its settings deeply, and plain functions not at all
        try:
            with wandb_private.started_at(self._start_time_ns / 1e9), wandb_private.nothing_captured() as console:
                run = wandb.init(
                    **arguments,
                    settings=wandb.Settings(**{**settings, "console": "off" if self._console_off else console}),
                )
        except (wandb.errors.AuthenticationError, wandb.errors.UsageError, TypeError, ValueError) as error:
            if rewind is not None and not isinstance(error, wandb.errors.AuthenticationError):
                raise self._not_rewound(rewind, error) from error
            raise SinkPermanentError("refused", f"wandb.init refused the run: {error}") from error
        except Exception as error:
            if rewind is not None:
                raise self._not_rewound(rewind, error) from error
            raise SinkError("init", f"wandb.init failed: {error}") from error
        if os.path.realpath(run.settings.root_dir) != os.path.realpath(arguments["dir"]):
            _check_writable(arguments["dir"])
            raise SinkError("directory", f"wandb wrote to {run.settings.root_dir} and not to {arguments['dir']}")
        return run

    def _open_private_doors(self) -> None:
        try:
            self._batch = wandb_private.HistoryBatch(self._run)
            self._published = wandb_private.Published(self._run)
        except (AttributeError, ImportError) as error:
            log.warning("wandb_private_changed reason=%r effect=%r", str(error), "slower, public API only")

    def _carry(self) -> None:
        """Begin a new offline file with what the earlier ones say, so that it stands for the whole run."""
        carried = self._carried
        for metric in carried.metrics.values():
            self._private("metric", partial(wandb_private.publish_metric, self._run, metric))
        if self._approach.online:  # the server has its own, which must not speak of rows that it lacks
            carried.summary = {key: value for key, value in carried.summary.items() if key not in _ROW_KEYS}
            for output in carried.unsent:
                self.output(output)
            for alert in carried.unsent_alerts:
                self._send_alert(alert, alert.wait_ms)
        carried.unsent.clear()
        carried.unsent_alerts.clear()
        if self._approach.online:  # an earlier worker may have been killed before they were uploaded
            for saved in carried.saved:
                self.saved(saved)
            self._private("tables", self._carry_tables)
        if carried.pins:
            self.pins(Pins(carried.pins))
        for name, charts in carried.drawn.items():
            for key, drawn in charts.items():
                path = ("_wandb", name, key)
                self._private("chart", partial(wandb_private.publish_nested_config, self._run, path, drawn))
        if carried.summary:
            self._run.summary.update(carried.summary)
        attributes = Attributes(carried.name, carried.notes, carried.tags)
        if attributes != Attributes() and attributes != Attributes(tags=[]):
            self.attributes(attributes)

    def _carry_tables(self) -> None:
        """Tables that W&B may lack though it has their rows: their workers were killed, or had no key."""
        if self._tables is None:
            return
        folders = [folder for folder in self._notebook.notes.folders if folder.mode == "offline"]
        wandb_tables.keep_tables(self._run, self._tables)
        wandb_tables.send_tables_again(self._run, self._tables, [each for each in folders if not each.tables_kept])
        for folder in folders:
            folder.tables_kept = True
        self._notebook.save()

    def existing(self, next_step: int) -> Existing:
        """What earlier workers wrote at steps from `next_step` on.

        Online, what counts is what the server has: rows of earlier files that it lacks, because a worker died before
        it had uploaded them or had no key, are written again from those files.
        """
        samples = frozenset(self._carried.samples)
        if self._run.settings.mode == "offline":
            carried = self._carried
            steps = tuple(step for step in carried.steps if step >= next_step)
            below = carried.steps[0] if carried.rows > len(carried.steps) else None
            return Existing(steps, carried.outputs, below, carried.alerts, samples)
        for folder in self._notebook.notes.history[:-1]:
            self._send_again(Path(folder.file), next_step)
        if self._upload is not None:
            earlier = [Path(folder.path) / "files" for folder in self._notebook.notes.folders[:-1]]
            publish = partial(wandb_private.publish_file, self._run)
            upload = self._upload
            self._private("media", lambda: carry_media(earlier, Path(self._run.dir), upload.file_sizes, publish))
        return Existing((), self._carried.outputs, self._starting_step, self._carried.alerts, samples)

    def _send_again(self, file: Path, before: int) -> None:
        first = max(self._starting_step, self._sent_again)
        if first >= before:
            return
        for step, row in history_rows(file, first):
            if first <= step < before:
                self._sent_again = step + 1
                row.pop("_runtime", None)
                try:
                    self.row(FinishedRow(step, 0, row))
                except RowRefusedError as error:
                    log.error("row_refused step=%d file=%s reason=%r", step, file, str(error))
        self.flush()

    # -- writing ---------------------------------------------------------------------------------------------------

    def row(self, row: FinishedRow) -> None:
        """Write a row. Raises RowRefusedError when a value cannot be stored."""
        try:
            data = self._of_row(row)
            self._step_values.complete(data)
            if self._batch is not None:
                self._batch.add(row.step, row.time_ns / 1e9, data)
            else:
                self._run.log({"_timestamp": row.time_ns / 1e9, **data}, step=row.step, commit=True)
        except _BROKEN as error:
            raise _core_died(error) from error
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise RowRefusedError(str(error)) from error
        self._rows += 1
        if self._batch is not None and len(self._batch) >= FAST_BATCH_ROWS:
            self.flush()

    def _of_row(self, row: FinishedRow) -> dict[str, Any]:
        if is_rich(row.data):
            return self._media.row(self._run, row.data, row.step, row.time_ns)
        return revive_row(row.data)

    def artifacts(self) -> WandbArtifacts:
        """The door for artifacts; for a thread of its own."""
        return WandbArtifacts(self._run, online=self._approach.online)

    def recorded_artifacts(self) -> set[str]:
        """Artifacts that earlier offline files have."""
        return self._carried.artifacts

    def artifacts_readable(self) -> bool:
        """Whether every artifact record that was published can be read back. For any thread."""
        if self._published is None:
            return True
        number = wandb_private.artifact_record_number()
        return self._tally.said.get(number, 0) >= self._published.counts.get(number, 0)

    def flush(self) -> None:
        """Send buffered rows to wandb-core; waits while its socket is full."""
        if self._batch is None or not len(self._batch):
            return
        try:
            self._batch.send()
        except Exception as error:
            raise _core_died(error) from error

    def config(self, record: Config) -> None:
        """Set and remove keys of the config."""
        if record.update:
            update = revive(record.update)
            self._public("config", lambda: self._run.config.update(update, allow_val_change=True))
        if record.remove:
            self._private("config", lambda: wandb_private.remove_config(self._run, record.remove))

    def summary(self, record: Summary) -> None:
        """Set and remove values of the summary."""
        update = [(list(path), self._media.value(value)) for path, value in record.update]
        try:
            self._public("summary", lambda: wandb_private.publish_summary(self._run, update, record.remove))
        except (AttributeError, ImportError):
            self._public("summary", lambda: _summary_by_items(self._run.summary, update, record.remove))

    def metric(self, record: Metric) -> None:
        """Define a metric."""
        given = {name: getattr(record, name) for name in record.__struct_fields__}
        arguments = {name: value for name, value in given.items() if value is not None}  # wandb 0.31 knows no goal
        self._public("metric", lambda: self._run.define_metric(**arguments))

    def output(self, record: Output) -> None:
        """Append to the console output. "logs" is what was written there by hand, which no setting turns off."""
        if self._console_off and record.stream != "logs":
            return
        self.flush()
        if record.stream == "logs":
            self._public("output", lambda: self._run.write_logs(record.text))
            return
        try:
            wandb_private.publish_output(self._run, record.stream, record.text, record.time_ns)
        except (AttributeError, ImportError):
            self._public("output", lambda: self._run.write_logs(record.text))
        except Exception as error:
            raise _core_died(error) from error

    def attributes(self, record: Attributes) -> None:
        """Change name, notes or tags."""
        for name in ("name", "notes", "tags"):
            value = getattr(record, name)
            if value is not None:
                self._public(name, partial(setattr, self._run, name, value))

    def alert(self, record: Alert) -> None:
        """Send an alert; the wait that W&B is told makes it judge by the training's time."""
        self._send_alert(record, self._alert_times.wait_ms(record, time.time_ns()))

    def _send_alert(self, record: Alert, wait_ms: int) -> None:
        wait = datetime.timedelta(milliseconds=wait_ms)
        self._public("alert", lambda: self._run.alert(record.title, record.text, record.level, wait))

    def preempting(self) -> None:
        """Say that the run is about to be preempted."""
        self._public("preempting", lambda: self._run.mark_preempting())

    def pins(self, record: Pins) -> None:
        """Pin keys of the config."""
        self._public("pins", lambda: self._run.pin_config_keys(record.keys))

    def _open_endpoint(self) -> None:
        """Have wandb fetch the machine's samples, where it does not let them be given."""
        log.warning("wandb_private_changed reason=%r effect=%r", "samples cannot be given to wandb at their own time",
                    "wandb's own sampler goes on, and fetches ours as openmetrics.telemetryd")  # fmt: skip
        try:
            self._endpoint = SamplesEndpoint()
        except OSError as error:
            log.warning("samples_not_served error=%r", str(error))

    def samples(self, time_ns: int, values: Mapping[str, float]) -> bool:
        """Into the System panel. A broken connection is noticed by `check`, and for the rows' sake."""
        if not self._shows_samples:
            if self._endpoint is None:
                return False
            self._endpoint.show(time_ns, values)
            return True
        try:
            wandb_private.publish_stats(self._run, time_ns, values)
        except Exception as error:  # noqa: BLE001 - of whatever kind: it costs a sample, and is told
            if self._samples_lost == 0:
                log.warning("samples_lost reason=%r", f"{type(error).__name__}: {error}")
            self._samples_lost += len(values)
            return False
        return True

    def saved(self, record: Saved) -> None:
        """Put a file into the run's folder and have it uploaded. What cannot be had is counted as lost media is."""
        self._public("saved", lambda: self._save(record))

    def _save(self, record: Saved) -> None:
        try:
            content = self._media.build(record.content) if record.content is not None else None
            saved_files.save(self._run, record, content, trust_paths=self._trust_paths)
        except (saved_files.SavedFileError, MediaLostError, OSError) as error:
            self._media.lose(FILE_MISSING, record.name, str(error))

    def process(self, record: Process) -> None:
        """Add what was looked up of the training process, unless the run was begun with it."""
        if record == self._process:
            return
        if self._facts is not None:
            self._facts.keep(record)
        self._spec.metadata = {**self._spec.metadata, **record.facts}
        self._put_process(record)

    def _put_process(self, record: Process) -> None:
        self._process = record
        fields = process_facts.environment(self._spec.metadata, self._spec.settings)
        self._private("metadata", lambda: wandb_private.publish_environment(self._run, fields))
        names = process_facts.write_files(record.files, Path(self._run.dir))
        if names:
            self._public("files", lambda: self._upload_files(names))
        for name in names:
            if name.startswith("code/"):
                self._private("code path", partial(wandb_private.set_code_path, self._run, name))

    def _upload_files(self, names: list[str]) -> None:
        try:
            wandb_private.publish_files(self._run, names)
        except (AttributeError, ImportError):
            for name in names:
                self._run.save(str(Path(self._run.dir) / name), base_path=self._run.dir, policy="now")

    def _public(self, what: str, call: Callable[[], Any]) -> None:
        """Something beside rows: what wandb refuses of it is logged and left out, a broken connection is raised."""
        import wandb

        self.flush()
        try:
            call()
        except _BROKEN as error:
            raise _core_died(error) from error
        except (wandb.Error, TypeError, ValueError, KeyError) as error:
            log.error("refused what=%s reason=%r", what, str(error))

    def _private(self, what: str, call: Callable[[], Any]) -> None:
        try:
            self._public(what, call)
        except (AttributeError, ImportError) as error:
            log.error("refused what=%s reason=%r", what, f"wandb has changed: {error}")

    # -- confirming ------------------------------------------------------------------------------------------------

    def written(self) -> Position:
        """Rows and published records so far."""
        return Position(self._rows, dict(self._published.counts) if self._published else {})

    def media_lost(self) -> dict[str, int]:
        """Media values lost by reason."""
        return self._media.lost

    def look(self) -> None:
        """Count what can be read back now."""
        self._tally.update()
        if self._tables is not None:
            self._tables.tidy()
            for reason in self._tables.refusals():
                self._media.lose(REFUSED, "table", reason)
        if self._upload is not None:
            self._upload.want(self._tally.history, hurry=self._hurry)

    def hurry(self) -> None:
        """Ask the server as often as can be: somebody waits."""
        self._hurry = True

    def confirmed_rows(self) -> int:
        """Rows that can be read back, and that the server has where it is asked."""
        on_server = self._upload.rows if self._upload is not None else None
        return self._tally.history if on_server is None else min(self._tally.history, on_server)

    def unread_rows(self) -> int:
        """Rows that wandb-core has not brought into the file yet."""
        return self._rows - self._tally.history

    def is_confirmed(self, position: Position) -> bool:
        """Whether everything up to `position` can be read back, and the server has its rows."""
        return self.confirmed_rows() >= position.rows and self._is_readable(position)

    def _is_readable(self, position: Position) -> bool:
        if self._tally.history < position.rows:
            return False
        said = self._tally.said
        return all(said.get(kind, 0) >= count for kind, count in position.others.items())

    def check(self) -> Trouble | None:
        """The trouble that may pass. Raises SinkError when wandb-core is gone or stuck, or a key has come."""
        for pid in self._cores:
            if predecessor.started_ticks(pid) is None:
                raise SinkError("core_died", f"wandb-core (pid {pid}) has died; the worker is started again")
        if self._approach.lacks_key:
            self._look_for_key()
        return self._check_file() or (self._upload.check(self._rows) if self._upload is not None else None)

    def _check_file(self) -> Trouble | None:
        now_s = time.monotonic()
        seen = (self._tally.history, sum(self._tally.said.values()))
        if seen != self._file_seen or self._is_readable(self.written()) or not self._file_moved_s:
            self._file_seen, self._file_moved_s = seen, now_s
        stalled_s = now_s - self._file_moved_s
        if stalled_s > SETTLE_TIMEOUT_S:
            raise SinkError("unconfirmed", f"nothing written for {stalled_s:.0f} s can be read back; is the disk full?")
        if stalled_s > STALL_NOTICE_S:
            message = "what was written a while ago cannot be read back yet: wandb-core or the disk is slow"
            return Trouble("slow", message)
        return None

    def _look_for_key(self) -> None:
        now_s = time.monotonic()
        if now_s - self._key_looked_s < KEY_POLL_S:
            return
        self._key_looked_s = now_s
        try:
            found = api_key.find(wandb_settings.server_url(os.environ), os.environ)
        except ApiKeyError as error:
            log.warning("key_unusable reason=%r", str(error))
            return
        if found is not None:
            raise SinkError("key_found", f"there is a W&B key now ({found.source}); the run goes on online")

    # -- ending ----------------------------------------------------------------------------------------------------

    def while_finishing(self) -> Trouble | None:
        """The trouble that `finish` is in, which waits inside wandb. For another thread; never raises."""
        return self._upload.silence() if self._upload is not None else None

    def finish(self, exit_code: int) -> None:
        """End the run; everything is in the file afterwards. Raises SinkError."""
        import wandb

        self.flush()
        position = self.written()
        if self._upload is not None:
            self._upload.want(position.rows + 1, hurry=True)  # go on asking, to notice when nobody answers
        try:
            self._run.finish(exit_code=exit_code)
            wandb.teardown()
        except Exception as error:
            raise SinkError("finish", f"wandb could not finish the run: {error}") from error
        self.look()
        if not self._tally.exited or self._tally.history < position.rows:
            raise SinkError(
                "unconfirmed",
                f"wandb finished the run with {self._tally.history} of {position.rows} rows in {self._tally.path}:"
                " is the disk full?",
            )
        if self._upload is not None:
            self._await_server(self._upload, position.rows)
            self._upload.close()
        self._media.finished()
        if self._endpoint is not None:
            self._endpoint.close()

    def _await_server(self, upload: Upload, rows: int) -> None:
        """Nothing more comes from wandb-core: the server must have every row, and must have taken the end."""
        upload.want(rows, hurry=True)
        deadline_s = time.monotonic() + SERVER_FINISH_S
        while True:
            upload.check(rows)
            if upload.rows is None or upload.rows >= rows:
                return
            if time.monotonic() >= deadline_s:
                raise SinkError("lost", f"wandb finished the run, and W&B has {upload.rows} of {rows} rows of it")
            time.sleep(PREDECESSOR_POLL_S)

    def abandon(self) -> None:
        """End wandb-core at once, without an exit record: the run stays unfinished and can go on later."""
        for pid in predecessor.cores_of(os.getpid()):
            predecessor.kill(pid)


def _summary_by_items(summary: Any, update: list[tuple[list[str], Any]], remove: list[list[str]]) -> None:
    for path, value in update:
        for key in reversed(path[1:]):
            value = {key: value}
        summary.update({path[0]: value})
    for path in remove:
        if len(path) == 1:
            del summary[path[0]]


def _core_died(error: BaseException) -> SinkError:
    return SinkError(
        "core_died", f"wandb-core stopped working ({type(error).__name__}: {error}); the worker is started again"
    )


def _check_writable(directory: str) -> None:
    """wandb takes the system's temporary folder for one that it cannot write to; what goes there is soon removed."""
    if not os.access(directory, os.R_OK | os.W_OK):
        raise SinkError("directory", f"the run's folder {directory} cannot be written: its rows wait until it can")
