"""What is known of the training process beyond its Hello: found in the inbox, kept, and put into the run.

The client looks it up beside training and sends one Process record, usually before this worker has imported wandb. So
the worker looks for it in the inbox before it begins the run, for a moment: the run is then made with its commit and
program. What comes later is added to the run that is there.

`<state>/workers/<run>.facts` keeps the record: the inbox forgets it once it is delivered, and a later worker begins
wandb's run anew. It counts for the run whose `created_ns` it holds, and for the session that said it.
"""

from __future__ import annotations

import logging
import os
import re
import time
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from client.protocol.messages import Hello
from client.protocol.records import End, Process
from telemetryd.inbox.reader import InboxReader, RunRow
from telemetryd.runs import feed
from telemetryd.runs.limits import FACTS_POLL_S, FACTS_SCAN_BYTES, FACTS_WAIT_S, READ_MAX_BYTES

log = logging.getLogger(__name__)

_NAMES = re.compile(r"requirements\.txt|diff(_[0-9a-f]{4,64})?\.patch|code/.+")
_GIVEN = {
    **{name: name for name in ("host", "program", "program_relpath", "git_commit", "git_remote_url")},
    **{name: f"x_{name}" for name in ("executable",)},
    **{name: f"x_stats_{name}" for name in ("cpu_count", "gpu_count", "gpu_type")},
    "cpu_count_logical": "x_stats_cpu_logical_count",
}
"""Facts that a setting of wandb's replaces."""

_NO_LIMIT = 2**63 - 1


class _Kept(msgspec.Struct):
    created_ns: int
    session: str
    process: Process


class ProcessFacts:
    """The facts of one run's process."""

    def __init__(self, path: Path, reader: InboxReader, run: RunRow, hello: Hello | None) -> None:
        self._path = path
        self._reader = reader
        self._run = run
        self._hello = hello
        self._session = hello.session if hello is not None and hello.rank is None else ""
        """Who tells the facts; empty for the main one of a job's ranks, whose session may come at any time."""

    def first(self) -> Process | None:
        """What is known before the run begins; waits a moment for a process that has only just begun."""
        kept = self._load()
        if kept is not None or self._hello is None:
            return kept
        if not self._hello.facts and self._session:
            return None
        found = self._look()
        if found is not None:
            self.keep(found)
        return found

    def keep(self, process: Process) -> None:
        """Remember it for a later worker. What cannot be kept is logged: the run has it already."""
        beside = self._path.with_suffix(".facts.new")
        try:
            beside.write_bytes(msgspec.msgpack.encode(_Kept(self._run.created_ns, self._session, process)))
            beside.replace(self._path)
        except OSError as error:
            log.warning("facts_not_kept path=%s reason=%r", self._path, error.strerror)

    def _load(self) -> Process | None:
        try:
            kept = msgspec.msgpack.decode(self._path.read_bytes(), type=_Kept)
        except (OSError, msgspec.MsgspecError):
            return None
        return kept.process if (kept.created_ns, kept.session) == (self._run.created_ns, self._session) else None

    def _look(self) -> Process | None:
        after, scanned = self._run.cursor, 0
        deadline_s = time.monotonic() + FACTS_WAIT_S
        while scanned < FACTS_SCAN_BYTES:
            is_open = not self._session or self._reader.is_open(self._session)  # asked before the batches are
            batches = self._reader.batches(self._run.run_id, after, _NO_LIMIT, READ_MAX_BYTES)
            for batch in batches:
                after, scanned = batch.number, scanned + len(batch.body)
                if self._session not in ("", batch.session):
                    continue
                for record, _ in feed.decoded(batch, feed.Losses()):
                    if isinstance(record, Process):
                        return record
                    if isinstance(record, End) and self._session:
                        return None
            if not batches:
                if self._session and not is_open:
                    return None
                if time.monotonic() >= deadline_s:
                    return None
                time.sleep(FACTS_POLL_S)
        return None


def write_files(files: dict[str, bytes], folder: Path) -> list[str]:
    """Put them into the run's files folder; the names of those that are there now."""
    written = []
    for name, content in files.items():
        path = PurePosixPath(name)
        if not _NAMES.fullmatch(name) or path.is_absolute() or ".." in path.parts:
            log.warning("file_refused name=%r", name)
            continue
        place = folder / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            beside = place.with_name(f".{place.name}.new")
            beside.write_bytes(content)
            os.replace(beside, place)  # noqa: PTH105 - over a link, never through it
        except OSError as error:
            log.error("file_not_written name=%r reason=%r", name, error.strerror)
            continue
        written.append(name)
    return written


def environment(metadata: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The fields of wandb's EnvironmentRecord that are known, nested as it nests them; `settings` win.

    wandb merges them into what it has, lists by appending: the arguments are left to `wandb.init`, which had them.
    """
    metadata = dict(metadata)
    for name, setting in _GIVEN.items():
        if settings.get(setting) is not None:
            metadata[name] = settings[setting]
    text = ("os", "python", "program", "host", "executable", "gpu_type")
    counts = ("cpu_count", "cpu_count_logical", "gpu_count")
    fields: dict[str, Any] = {name: metadata[name] for name in text if isinstance(metadata.get(name), str)}
    fields |= {name: metadata[name] for name in counts if _is_count(metadata.get(name))}
    for name, source in (("code_path", "program_relpath"), ("code_path_local", "program_local")):
        if isinstance(metadata.get(source), str):
            fields[name] = metadata[source]
    git = {"commit": metadata.get("git_commit"), "remote_url": metadata.get("git_remote_url")}
    if any(git.values()):
        fields["git"] = {name: str(value) for name, value in git.items() if value}
    if _is_count(metadata.get("memory_bytes")):
        fields["memory"] = {"total": metadata["memory_bytes"]}
    if isinstance(metadata.get("cpu_model"), str):
        fields["cpu"] = {"model": metadata["cpu_model"]}
    if isinstance(metadata.get("slurm"), dict):
        fields["slurm"] = {str(name): str(value) for name, value in metadata["slurm"].items()}
    return fields


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63
