"""`init(mode="disabled")`: a run with the same surface that records nothing and waits for nothing.

As in wandb its summary remembers what is logged, its name is made up from its id, and config works as ever.
"""

from __future__ import annotations

import datetime
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

from client import alerts, amounts, code_files
from client.alerts import AlertLevel
from client.code_files import Choice
from client.config import Config, ConfigStatic
from client.metrics import Metric
from client.process_info import new_run_id
from client.report import FinishReport
from client.run_actions import RunStatus
from client.settings import RunSettings, Settings


class DisabledSummary(dict[str, Any]):
    """A dict whose keys are attributes too, nested dicts included."""

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError:
            raise AttributeError(key) from None

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def __delattr__(self, key: str) -> None:
        del self[key]

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if isinstance(value, dict) and not isinstance(value, DisabledSummary):
            value = self[key] = DisabledSummary(value)
        return value


class Noop:
    """Stands for an object of wandb's that a disabled run would have returned: every attribute and call is itself."""

    def __getattr__(self, name: str) -> Noop:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Noop:  # noqa: D102 - a magic method
        return self


class DisabledRun:
    """See the module's head. Every public name of Run is here, with the same signature."""

    def __init__(self, settings: RunSettings, config: dict[str, Any], on_end: Callable[[DisabledRun], None]) -> None:
        self._resolved = settings
        self._on_end = on_end
        self._config = Config()
        self._config.update(config)
        self.summary: Any = DisabledSummary()
        self.id = settings.run_id or new_run_id()
        self.name: str | None = settings.name or f"dummy-{self.id}"
        self.notes = settings.notes
        self.tags = settings.tags
        self.entity = settings.entity or "dummy"
        self.project = settings.project or "dummy"
        self.group = settings.group or ""
        self.job_type = settings.job_type or ""
        self.start_time = time.time()

    offline = False
    disabled = True
    resumed = False
    starting_step = 0
    step = 0
    url: str | None = None
    project_url: str | None = None
    sweep_id: str | None = None
    sweep_url: str | None = None

    @property
    def path(self) -> str:
        """entity/project/id."""
        return f"{self.entity}/{self.project}/{self.id}"

    @property
    def dir(self) -> str:
        """The temporary folder."""
        return tempfile.gettempdir()

    @property
    def sync_dir(self) -> str:
        """The temporary folder."""
        return tempfile.gettempdir()

    @property
    def settings(self) -> Settings:
        """The mode, and what the run would be called."""
        return Settings(mode="disabled", run_id=self.id, run_name=self.name, project=self.project, entity=self.entity)

    @property
    def config(self) -> Config:
        """Works as in a run that is recorded."""
        return self._config

    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Remember the values in the summary. Raises TypeError for what is no mapping."""
        if not isinstance(data, Mapping):
            raise TypeError(f"wandb.log must be passed a dictionary, not {type(data).__name__}")
        self.summary.update(data)

    def define_metric(
        self,
        name: str,
        step_metric: str | Metric | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        overwrite: bool | None = None,
    ) -> Metric:
        """Nothing."""
        return Metric("dummy")

    def write_logs(self, text: str) -> None:
        """Nothing."""

    def flush(self, timeout: float | str | None = None, *, timeout_s: float | None = None) -> bool:
        """True at once: there is nothing to wait for. Raises UsageError for what is no duration."""
        amounts.timeout_s(timeout, timeout_s, 0.0)
        return True

    def finish(
        self,
        exit_code: int | None = None,
        quiet: bool | None = None,
        *,
        timeout: float | str | None = None,
        timeout_s: float | None = None,
    ) -> FinishReport:
        """Ends being `client.run`. Raises UsageError for what is no duration."""
        amounts.timeout_s(timeout, timeout_s, 0.0)
        self._on_end(self)
        return FinishReport()

    def __enter__(self) -> DisabledRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def __repr__(self) -> str:
        return f"<DisabledRun {self.path}>"

    def finish_artifact(
        self,
        artifact_or_path: Any,
        name: str | None = None,
        type: str | None = None,
        aliases: list[str] | None = None,
        distributed_id: str | None = None,
    ) -> Noop:
        """An object that takes every call."""
        return Noop()

    def link_artifact(self, artifact: Any, target_path: str, aliases: list[str] | None = None) -> Noop:
        """An object that takes every call."""
        return Noop()

    def link_model(
        self, path: Any, registered_model_name: str, name: str | None = None, aliases: list[str] | None = None
    ) -> Noop:
        """An object that takes every call."""
        return Noop()

    def log_artifact(
        self,
        artifact_or_path: Any,
        name: str | None = None,
        type: str | None = None,
        aliases: list[str] | None = None,
        tags: list[str] | None = None,
    ) -> Noop:
        """An object that takes every call."""
        return Noop()

    def log_code(
        self,
        root: str | None = ".",
        name: str | None = None,
        include_fn: Choice = code_files.is_code,
        exclude_fn: Choice = code_files.is_wandbs,
    ) -> None:
        """Nothing."""

    def log_model(self, path: Any, name: str | None = None, aliases: list[str] | None = None) -> Noop:
        """An object that takes every call."""
        return Noop()

    def restore(
        self,
        name: str,
        run_path: str | None = None,
        replace: bool = False,
        root: str | None = None,
        *,
        timeout: float = 0.0,
    ) -> IO[str] | None:
        """The file, where it is there already; None else, as in wandb."""
        path = Path(root or self.dir) / name
        return path.open() if path.is_file() and not replace else None

    def save(
        self,
        glob_str: str | os.PathLike[str],
        base_path: str | os.PathLike[str] | None = None,
        policy: Literal["live", "now", "end"] = "live",
        glob: bool = True,
    ) -> bool | list[str]:
        """False: nothing was saved."""
        return False

    def upsert_artifact(
        self,
        artifact_or_path: Any,
        name: str | None = None,
        type: str | None = None,
        aliases: list[str] | None = None,
        distributed_id: str | None = None,
    ) -> Noop:
        """An object that takes every call."""
        return Noop()

    def use_artifact(
        self,
        artifact_or_name: Any,
        type: str | None = None,
        aliases: list[str] | None = None,
        use_as: str | None = None,
        *,
        timeout: float = 0.0,
    ) -> Noop:
        """An object that takes every call."""
        return Noop()

    def use_model(self, name: str, *, timeout: float = 0.0) -> Noop:
        """An object that takes every call."""
        return Noop()

    def alert(
        self,
        title: str,
        text: str,
        level: str | AlertLevel | None = None,
        wait_duration: float | datetime.timedelta | None = None,
    ) -> None:
        """Nothing, but a wrong argument is an error as ever."""
        alerts.checked(title, text, level, wait_duration)

    def mark_preempting(self) -> None:
        """Nothing."""

    def pin_config_keys(self, keys: Sequence[str] = ()) -> None:
        """Nothing."""

    def watch(
        self,
        models: Any,
        criterion: Any = None,
        log: Literal["gradients", "parameters", "all"] | None = "gradients",
        log_freq: int = 1000,
        idx: int | None = None,
        log_graph: bool = False,
    ) -> None:
        """Nothing: the model is not touched."""

    def unwatch(self, models: Any = None) -> None:
        """Nothing."""

    def status(self) -> RunStatus:
        """Nothing is pending."""
        return RunStatus()

    @property
    def config_static(self) -> ConfigStatic:
        """A copy of the config that cannot be changed."""
        return ConfigStatic(self._config)

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """The run's name as text."""
        from html import escape  # not with every start: it holds a table of every entity

        return escape(repr(self))

    def display(self, height: int = 420, hidden: bool = False) -> bool:
        """False: there is nothing to show."""
        return False
