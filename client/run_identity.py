"""What a run is called, where it is and how it stands: the read side of Run.

Only `url`, `project_url`, `sweep_url`, `dir` and `sync_dir` may wait, for a connected daemon, at most ANSWER_TIMEOUT_S.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from client.artifacts.run_calls import RunArtifacts
from client.history import History
from client.limits import ANSWER_TIMEOUT_S
from client.protocol import records
from client.protocol.messages import Report, RunSpec
from client.report import FinishReport
from client.settings import RunSettings, SettingError, Settings, checked_tags
from client.stream import Stream

log = logging.getLogger("telemetryd.client")


class RunIdentity(RunArtifacts):
    """See the module's head."""

    def __init__(self, spec: RunSpec, stream: Stream, settings: RunSettings) -> None:
        self._spec = spec
        self._stream = stream
        self._resolved = settings
        self._start_time_ns = stream.hello.start_time_ns
        self._report: FinishReport | None = None
        self._dir: str | None = None
        self._forked = False
        self._history = History(
            spec.run_id, stream.append, self._start_time_ns, stream.place, stream.tail, settings.rewind_to
        )

    # What it is called

    @property
    def id(self) -> str:
        """The run's id; made by `init`, so it is known without a daemon."""
        return self._spec.run_id

    @property
    def name(self) -> str | None:
        """The display name; None until W&B has made one up."""
        report = self._stream.report
        return self._resolved.name or (report.name if report else None)

    @name.setter
    def name(self, name: str) -> None:
        if self._history.check_open("name"):
            self._resolved.name = name
            self._history.emit(records.Attributes(name=name))

    @property
    def notes(self) -> str | None:
        """A longer description."""
        return self._resolved.notes

    @notes.setter
    def notes(self, notes: str) -> None:
        if self._history.check_open("notes"):
            self._resolved.notes = notes
            self._history.emit(records.Attributes(notes=notes))

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags; set them whole: `run.tags += ("baseline",)`."""
        return self._resolved.tags

    @tags.setter
    def tags(self, tags: Sequence[str]) -> None:
        if not self._history.check_open("tags"):
            return
        try:
            checked = checked_tags(tags) or ()
        except SettingError as error:  # as in wandb: a bad tag must not end a training that runs
            log.warning("Invalid tag detected: %s. Tags not updated.", error)
            return
        self._resolved.tags = checked
        self._history.emit(records.Attributes(tags=list(checked)))

    @property
    def entity(self) -> str:
        """The user or team; empty until it is known."""
        report = self._stream.report
        return self._spec.entity or (report.entity if report else None) or ""

    @property
    def project(self) -> str:
        """The project's name."""
        return self._spec.project or ""

    @property
    def group(self) -> str:
        """The group's name, or an empty str."""
        return self._spec.group or ""

    @property
    def job_type(self) -> str:
        """The kind of job, or an empty str."""
        return self._spec.job_type or ""

    @property
    def path(self) -> str:
        """entity/project/id, without what is not known."""
        return "/".join(part for part in (self.entity, self.project, self.id) if part)

    @property
    def sweep_id(self) -> str | None:
        """The sweep that the run is a trial of, or None."""
        return self._resolved.sweep_id

    @property
    def sweep_url(self) -> str | None:
        """The sweep's page in W&B; None without a sweep, and as `url`."""
        project_url = self.project_url if self.sweep_id else None
        return f"{project_url}/sweeps/{quote(self.sweep_id or '')}" if project_url else None

    # Where it is

    @property
    def url(self) -> str | None:
        """The run's page in W&B. None offline, and when no daemon has said it in time (10 s at most)."""
        if self.offline:
            return None
        report = self._answered(lambda report: report.url is not None)
        return report.url if report else None

    @property
    def project_url(self) -> str | None:
        """The project's page in W&B; None as `url`."""
        url = self.url
        return url.rpartition("/runs/")[0] or None if url else None

    @property
    def dir(self) -> str:
        """The folder of the run's files.

        The daemon's run worker makes it; when it has not said so in time (10 s at most, no wait without a daemon), this
        is a folder of the same form beside it, made here.
        """
        if self._dir is None:
            report = self._answered(lambda report: report.directory is not None)
            if report is not None and report.directory:
                self._dir = str(Path(report.directory) / "files")
            else:
                self._dir = str(self._own_folder() / "files")
                Path(self._dir).mkdir(parents=True, exist_ok=True)
        return self._dir

    @property
    def sync_dir(self) -> str:
        """The folder of everything the run has on disk."""
        return str(Path(self.dir).parent)

    def _own_folder(self) -> Path:
        stamp = time.strftime("%Y%m%d_%H%M%S", time.localtime(self.start_time))
        kind = "offline-run" if self.offline else "run"
        return Path(self._spec.directory) / "wandb" / f"{kind}-{stamp}-{self.id}"

    def _answered(self, predicate: Callable[[Report], bool]) -> Report | None:
        report = self._stream.report
        if report is not None and predicate(report):
            return report
        if not self._stream.connected or self._forked or self._report is not None:
            return None
        return self._stream.wait_report(predicate, ANSWER_TIMEOUT_S)

    # How it stands

    @property
    def offline(self) -> bool:
        """Whether W&B's server is not used."""
        report = self._stream.report
        return (report.mode if report and report.mode else self._spec.mode) == "offline"

    @property
    def disabled(self) -> bool:
        """False; see DisabledRun."""
        return False

    @property
    def resumed(self) -> bool:
        """Whether W&B had the run already, as far as the daemon has said."""
        report = self._stream.report
        return report.resumed if report else False

    @property
    def start_time(self) -> float:
        """When `init` was called, in seconds since the epoch."""
        return self._start_time_ns / 1e9

    @property
    def starting_step(self) -> int:
        """The first step that W&B did not have yet, as far as the daemon has said."""
        report = self._stream.report
        return (report.starting_step if report else None) or 0

    @property
    def step(self) -> int:
        """The step of the next `log` call, as this process numbers them."""
        return self._history.steps.next

    @property
    def settings(self) -> Settings:
        """wandb's settings as far as the run has them; a copy."""
        resolved = self._resolved
        return Settings(
            **resolved.forwarded,
            run_id=self.id,
            project=self.project,
            entity=self.entity or None,
            run_name=self.name,
            run_notes=self.notes,
            run_tags=self.tags or None,
            run_group=self._spec.group,
            run_job_type=self._spec.job_type,
            mode=self._spec.mode,
            resume=self._spec.resume,
            root_dir=self._spec.directory,
            save_code=self._spec.save_code,
            silent=resolved.silent,
        )
