"""What a run can be asked to do beside taking values: alerts, preemption, pins, watching models, showing itself.

Each call is a record of the run's stream; none waits for the daemon, except `to_html` and `display`, as `url` does.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from client import alerts
from client.alerts import AlertLevel
from client.config import Config, ConfigStatic, in_notebook
from client.protocol import records
from client.run_identity import RunIdentity

if TYPE_CHECKING:
    from client.watching import Watching


class RunStatus(msgspec.Struct):
    """How far delivery is: rows offered, rows pending, and when the daemon last said something (local time)."""

    sync_items_total: int = 0
    sync_items_pending: int = 0
    sync_time: datetime.datetime | None = None


class RunActions(RunIdentity):
    """See the module's head."""

    _config: Config
    _watching: Watching | None = None
    summary: Any

    def alert(
        self,
        title: str,
        text: str,
        level: str | AlertLevel | None = None,
        wait_duration: float | datetime.timedelta | None = None,
    ) -> None:
        """Send an alert to whoever follows the run: by mail or Slack, as set in W&B. `level`: "INFO", "WARN", "ERROR".

        `wait_duration` (seconds or a timedelta; a minute by default): no other alert of this title for so long. Raises
        ValueError for another level, TypeError for what is no duration or no text, UsageError after `finish`.
        """
        if self._history.check_open("alert"):
            self._history.emit(alerts.checked(title, text, level, wait_duration))

    def mark_preempting(self) -> None:
        """Tell W&B that this run is about to be preempted. Raises UsageError after `finish`."""
        if self._history.check_open("mark_preempting"):
            self._history.emit(records.Preempting())

    def pin_config_keys(self, keys: Sequence[str] = ()) -> None:
        """Show these keys of the config at the top of the run's page, in this order, instead of those pinned before."""
        if self._history.check_open("pin_config_keys"):
            self._history.emit(records.Pins([str(key) for key in keys]))

    def watch(
        self,
        models: Any,
        criterion: Any = None,
        log: Literal["gradients", "parameters", "all"] | None = "gradients",
        log_freq: int = 1000,
        idx: int | None = None,
        log_graph: bool = False,
    ) -> None:
        """Log histograms of a torch model's gradients, parameters or both, every `log_freq` batches; see watching.py.

        `models` is one torch.nn.Module or a list of them; `idx` numbers the first in the keys; `log_graph` logs their
        layers once. Training pays for a copy of each tensor; the histograms are computed by a thread, and belong to the
        row that was open at the copy. Raises ValueError and TypeError for wrong arguments, Error without torch.
        """
        if not self._history.check_open("watch"):
            return
        if self._watching is None:
            from client.watching import Watching

            self._watching = Watching(self)
        self._watching.watch(models, criterion, log, log_freq, idx, log_graph)

    def unwatch(self, models: Any = None) -> None:
        """Undo `watch` for these models; for all of this run without an argument."""
        if self._watching is not None:
            self._watching.unwatch(models)

    def status(self) -> RunStatus:
        """How far delivery is, as far as is known here: it does not wait. Raises UsageError after `finish`."""
        self._history.check_open("status")
        ledger, report = self._stream.ledger, self._stream.report
        pending = max(ledger.pending, report.pending if report else 0)
        return RunStatus(ledger.offered, pending, datetime.datetime.now() if self._stream.connected else None)

    @property
    def config_static(self) -> ConfigStatic:
        """A copy of the config that cannot be changed."""
        return ConfigStatic(self._config)

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """An iframe of the run's page, `height` pixels high; without a URL the run's name. May wait as `url`."""
        url = self.url
        if url is None:
            from html import escape  # not with every start: it holds a table of every entity

            return escape(repr(self))
        style = f"border:none;width:100%;height:{height}px;"
        button = ""
        if hidden:
            style += "display:none;"
            button = (
                "<button onClick=\"this.nextSibling.style.display='block';this.style.display='none';\">"
                "Display W&B run</button>"
            )
        return f"{button}<iframe src={url + '?jupyter=true'!r} style={style!r}></iframe>"

    def display(self, height: int = 420, hidden: bool = False) -> bool:
        """Show the run in a notebook; False elsewhere, or under `silent`."""
        display = sys.modules.get("IPython.display")
        if self._resolved.silent or display is None or not in_notebook():
            return False
        display.display(display.HTML(self.to_html(height, hidden)))
        return True

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.to_html(hidden=True)}
