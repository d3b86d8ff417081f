"""The server's side of an online run: found out before wandb-core begins, and watched while it uploads.

    Approach   before `wandb.init`: a key, a server that answers, what it has of the run, whether that may be resumed
    Upload     afterwards: rows confirmed by the server, and whether more of them come

Invariants
* The run is begun for wandb-core only when the server has just answered, so a server that is down costs no restarts.
* What the run's summary says of its step never lies beyond its last row: wandb-core would begin behind it, and the rows
  between would be lost. wandb-core uploads the summary ahead of a large backlog, so a killed one can leave that.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from client.protocol.messages import RunSpec
from telemetryd.errors import ApiKeyError
from telemetryd.runs.confirmer import Confirmer
from telemetryd.runs.control import Trouble
from telemetryd.runs.core_log import CoreLog
from telemetryd.runs.errors import (
    ServerError,
    ServerRefusedError,
    ServerSilentError,
    ServerUnsuitedError,
    SinkError,
    SinkPermanentError,
)
from telemetryd.runs.limits import PUT_BACK_PAUSE_S, SERVER_LOST_MAX_S, SERVER_LOST_S, SERVER_NOTICE_S
from telemetryd.runs.notes import Notebook
from telemetryd.runs.put_back import put_back
from telemetryd.runs.upload import Signs, UploadStopped, UploadWatch
from telemetryd.runs.wandb_server import FINAL, RunFacts, RunName, Server, refusal
from telemetryd.settings import api_key

log = logging.getLogger(__name__)

DEFAULT_PROJECT = "uncategorized"


@dataclass
class Approach:
    """What was found out. `server` None: it cannot be asked, and wandb alone is relied on."""

    online: bool = False
    lacks_key: bool = False
    server: Server | None = None
    facts: RunFacts | None = None
    may_resume: bool = False
    """Whether the run's resume rule has been checked here."""


def approach(spec: RunSpec, notebook: Notebook, url: str, environ: Mapping[str, str]) -> Approach | Trouble:
    """Ready to begin, or the trouble that keeps it from that now. Raises SinkPermanentError when somebody must act."""
    if spec.mode != "online":
        return Approach()
    try:
        key = api_key.find(url, environ)
    except ApiKeyError as error:
        raise SinkPermanentError("key", str(error)) from error
    if key is None:
        if environ.get("WANDB_IDENTITY_TOKEN_FILE"):
            return _blind("a login by identity token gives no key to ask with")
        return Approach(lacks_key=True)
    os.environ["WANDB_API_KEY"] = key.value  # where wandb looks first, whatever the source
    server = Server(url, key.value, key.source)
    name = RunName(spec.entity, spec.project or DEFAULT_PROJECT, spec.run_id)
    try:
        facts = server.run(name)
        if notebook.notes.begun and facts is not None:
            facts = _mended(server, name, facts)
    except ServerSilentError as error:
        return Trouble("unreachable", f"{error}; rows are kept, and delivered when it does")
    except ServerRefusedError as error:
        raise SinkPermanentError("refused", str(error)) from error
    except ServerUnsuitedError as error:
        return _blind(str(error))
    _check_resume(spec, notebook, facts)
    return Approach(online=True, server=server, facts=facts, may_resume=True)


def _blind(reason: str) -> Approach:
    log.warning("server_blind reason=%r effect=%r", reason, "rows are confirmed by the .wandb file and wandb's log")
    return Approach(online=True)


def _mended(server: Server, name: RunName, facts: RunFacts) -> RunFacts:
    """The same run with a summary that speaks of no step beyond its rows."""
    summary_step = facts.summary_step
    unknown = facts.lines > 0 and facts.last_step is None
    last_step = -1 if facts.last_step is None else facts.last_step
    if summary_step is None or unknown or summary_step <= last_step:
        return facts
    summary = dict(facts.summary)
    if facts.lines:
        summary["_step"] = facts.last_step
    else:
        summary.pop("_step", None)
    log.warning("summary_ahead run=%s summary_step=%s last_step=%s", name.run, summary_step, facts.last_step)
    server.set_summary(facts.storage_id, summary)
    return server.run(name) or facts


def _check_resume(spec: RunSpec, notebook: Notebook, facts: RunFacts | None) -> None:
    """wandb's rule for the run's first `init`; later ones of the same run always resume."""
    if notebook.notes.begun or notebook.notes.folders:
        return
    if spec.resume == "never" and facts is not None:
        raise SinkPermanentError("resume", f"run {spec.run_id} exists, and resume='never' was asked for: choose an id")
    if spec.resume == "must" and facts is None:
        raise SinkPermanentError("resume", f"there is no run {spec.run_id} to resume, and resume='must' was asked for")


class Upload:
    """An upload in progress. Times are time.monotonic()'s."""

    def __init__(
        self, server: Server, name: RunName, base: int, core_log: CoreLog, notebook: Notebook, file: Path
    ) -> None:
        """`base`: the server's lines when wandb-core began; `file`: the .wandb file that it uploads from."""
        self.base = base
        self._file = file
        self._accepted = 0
        self._mended = 0
        """Answers without sense of which everything is put back."""
        self._garbage = 0
        """Those of which `_lost_to` knows."""
        self._lost_to = 0
        self._tried_s: float | None = None
        self._server = server
        self._name = name
        self._core_log = core_log
        self._notebook = notebook
        patience_s = min(SERVER_LOST_S * 2.0 ** min(notebook.notes.vain, 16), SERVER_LOST_MAX_S)
        self._watch = UploadWatch(patience_s)
        self._confirmer = Confirmer(server, name, base)
        self._wanted = 0

    @property
    def rows(self) -> int | None:
        """Rows of this sink that the server has for sure; None when it cannot tell.

        The log is read after the count: a gap in the count was made by an answer that is in the log by then.
        """
        rows = self._confirmer.rows
        self._core_log.read(time.monotonic())
        if rows is None:
            return None
        if self._core_log.garbage == self._mended:
            self._accepted = max(self._accepted, rows)
        return self._accepted

    def _put_back(self, now_s: float, handed: int) -> None:
        """After an answer that made no sense: send again what may have been lost by it.

        wandb-core uploads rows that the file does not hold yet: all those that it has been handed may be lost.
        """
        if self._core_log.garbage > self._garbage:
            self._garbage, self._lost_to = self._core_log.garbage, handed
        if self._garbage == self._mended or (self._tried_s is not None and now_s - self._tried_s < PUT_BACK_PAUSE_S):
            return
        self._tried_s = now_s
        try:
            self._accepted = put_back(self._server, self._name, self._file, self.base, self._accepted, self._lost_to)
        except ServerError as error:
            log.warning("rows_not_put_back reason=%r", str(error))
            return
        if self._accepted >= self._lost_to:
            self._mended = self._garbage

    def file_sizes(self, names: list[str]) -> dict[str, int]:
        """Which of the run's files the server has, with their bytes; none where it cannot be asked: they go again."""
        try:
            return self._server.file_sizes(self._name, names)
        except ServerError as error:
            log.warning("files_unknown reason=%r effect=%r", str(error), "media files are uploaded again")
            return {}

    def want(self, rows: int, *, hurry: bool) -> None:
        """So many rows are in wandb-core's hands; ask until the server has them."""
        self._wanted = rows
        self._confirmer.want(rows, hurry=hurry)

    def silence(self) -> Trouble | None:
        """The trouble of a server that does not answer; safe from any thread."""
        silent_s, silence = self._confirmer.silent()
        if silent_s < SERVER_NOTICE_S:
            return None
        return Trouble("unreachable", f"{silence}; rows are kept, and the run is ended when it does")

    def check(self, handed: int) -> Trouble | None:
        """The trouble that may pass; `handed`: the rows that wandb has been given. Raises SinkError when a new
        wandb-core must go on.
        """
        now_s = time.monotonic()
        self._core_log.read(now_s)
        self._put_back(now_s, handed)
        refused = self._confirmer.refusal
        if refused is not None:
            raise SinkPermanentError("refused", str(refused))
        silent_s, silence = self._confirmer.silent()
        rows = self._confirmer.rows
        found = self._watch.judge(
            now_s,
            Signs(
                rows=self._wanted if rows is None else rows,
                wanted=self._wanted,
                fatal=self._core_log.fatal,
                garbage_s=_ago(self._core_log.garbage_at_s, now_s),
                retry_s=_ago(self._core_log.retry_at_s, now_s),
                retry_reason=self._core_log.retry_reason,
                silent_s=silent_s,
                silence=silence,
            ),
        )
        if self._watch.advanced and self._notebook.notes.vain:
            self._notebook.notes.vain = 0
            self._notebook.save()
        if isinstance(found, UploadStopped):
            raise self._stopped(found)
        return found

    def _stopped(self, found: UploadStopped) -> SinkError:
        status = self._core_log.fatal_status
        if self._core_log.fatal is not None:
            if status in FINAL:
                return SinkPermanentError("refused", refusal(status, self._server.url, self._server.source))
            return SinkPermanentError("refused", f"wandb has stopped uploading: {found.message}")
        if not self._watch.advanced:
            self._notebook.notes.vain += 1
            self._notebook.save()
        return SinkError("lost", f"{found.message}; what it lacks is sent again")

    def close(self) -> None:
        """Ask no more."""
        self._confirmer.close()


def _ago(moment_s: float | None, now_s: float) -> float | None:
    return None if moment_s is None else now_s - moment_s


def core_log_of(run: object) -> CoreLog:
    """wandb-core's log of a run; one that finds nothing where wandb no longer says where it is."""
    path = getattr(getattr(run, "settings", None), "log_internal", None)
    return CoreLog(Path(str(path)) if path else None)
