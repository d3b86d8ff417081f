"""A run's artifacts, worked off one after another on a thread of their own: rows never wait for an upload.

    inbox ─► content here? ─► begin ─► wait ─► committed │ recorded │ failed      each said in a report
               │ no: look again; the session has ended without it: failed

Invariants
* An artifact is begun only with its whole content, and its end is reported once it is known: a worker that dies in
  between is followed by one that begins again, and W&B takes the same digest for the same version.
* They are worked off in the order in which training logged them, so versions are numbered in that order.
* Offline, content is moved to a folder beside the run's before it is recorded, where `wandb sync` finds it.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Protocol

from client.protocol.records import Artifact
from telemetryd.inbox.content import Content, ContentError, Places
from telemetryd.inbox.reader import EndedArtifact, InboxReader, PendingArtifact
from telemetryd.runs.control import ArtifactState
from telemetryd.runs.errors import ArtifactRefusedError
from telemetryd.runs.kept import Kept
from telemetryd.runs.limits import (
    ARTIFACT_BEAT_S,
    ARTIFACT_POLL_S,
    ARTIFACT_TRIES,
    ARTIFACT_TRIES_EVER,
    ARTIFACT_TRY_PAUSE_S,
)

log = logging.getLogger(__name__)


class Door(Protocol):
    """wandb_artifacts.WandbArtifacts, or a recording one in tests."""

    online: bool

    def begin(self, record: Artifact, content: Content) -> Any:
        """Log a version."""

    def wait(self, artifact: Any, timeout_s: int) -> dict[str, Any] | None:
        """What W&B says once it is committed; None when that takes longer."""

    def link(self, source: str, target: str, aliases: list[str] | None) -> dict[str, Any]:
        """Link a version to a collection."""

    def use(self, source: str) -> dict[str, Any]:
        """Note a version as an input."""


class Uploads:
    """See the module's head."""

    def __init__(
        self,
        inbox: Path,
        run_id: int,
        places: Places,
        kept: Kept,
        door: Door,
        report: Callable[[ArtifactState], None],
        already: Collection[str] = (),
        is_readable: Callable[[], bool] = lambda: True,
    ) -> None:
        """`kept` is where the content of offline files stays, `already` are artifacts that those have; `is_readable`
        tells whether what was recorded can be read back."""
        self._inbox = inbox
        self._run_id = run_id
        self._places = places
        self._kept = kept
        self._door = door
        self._report = report
        self._already = already
        self._is_readable = is_readable
        self._ended: dict[tuple[str, str], ArtifactState] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._news = threading.Event()
        self._settled_at = 0
        self._round = 0
        self._wanted = 0
        self._condition = threading.Condition()
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="uploads", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def wake(self) -> None:
        """The inbox may have something new."""
        self._news.set()

    def settled(self) -> bool:
        """Whether nothing was left to do at a look that began after the first of a row of calls to this."""
        with self._condition:
            if self._wanted <= self._settled_at and self._wanted:
                return True
            self._wanted = self._wanted or self._round + 1
        self._news.set()
        return False

    def ended(self) -> list[EndedArtifact]:
        """The artifacts that have ended in this worker; the inbox may not have all of them yet."""
        return [
            EndedArtifact(self._names[key], state.state, state.error, key)
            for key, state in list(self._ended.items())
            if key in self._names
        ]

    def _main(self) -> None:
        try:
            with InboxReader(self._inbox) as reader:
                while True:
                    with self._condition:
                        self._round += 1
                        number = self._round
                    left = self._turn(reader)
                    if not left:
                        with self._condition:
                            self._settled_at = number
                    self._news.wait(ARTIFACT_POLL_S if left else 4 * ARTIFACT_POLL_S)
                    self._news.clear()
        except BaseException as error:  # noqa: BLE001 - the main thread raises it, and the worker is started again
            self.failure = error

    def _turn(self, reader: InboxReader) -> bool:
        """Work off what can be; whether something is left."""
        left = False
        for pending in reader.artifacts(self._run_id, recorded=self._door.online):
            key = (pending.session, pending.record.id)
            if key in self._ended and self._ended[key].state != "recorded":
                continue  # reported, and on its way into the inbox
            if key in self._ended and not self._door.online:
                continue
            state = self._one(reader, pending)
            if state is None:
                left = True
                continue
            self._ended[key] = state
            if pending.record.kind != "use":
                self._names[key] = pending.record.name
            self._report(state)
        return left

    def _one(self, reader: InboxReader, pending: PendingArtifact) -> ArtifactState | None:
        """The end of an artifact, or None while it cannot be begun."""
        record, session = pending.record, pending.session
        if pending.tries >= ARTIFACT_TRIES_EVER:
            return _failed(pending, f"given up: {pending.tries} uploads were begun and none came to an end")
        try:
            if record.kind == "link":
                return self._link(reader, pending)
            if record.kind == "use":
                info = self._door.use(record.source) if self._door.online else {}
                return ArtifactState(session, record.id, "committed", info=info)
            content = self._content(pending)
        except ArtifactRefusedError as error:
            return _failed(pending, str(error))
        except (ContentError, OSError, ValueError) as error:
            return _failed(pending, f"its content cannot be read: {error}")
        if content is None:
            if pending.session_state == "open":
                return None
            why = "training ended while it was being staged" if pending.state == "announced" else (
                "training ended before all of its content had come")  # fmt: skip
            refusal = self._places.refusal(session, pending.peer_uid)
            return _failed(pending, f"{why}; {refusal}" if refusal else why)
        return self._log(pending, content)

    def _content(self, pending: PendingArtifact) -> Content | None:
        if pending.state == "announced":
            return None
        session, identity, digest, uid = pending.session, pending.record.id, pending.manifest, pending.peer_uid
        found = self._kept.find(identity, digest) or self._places.find(session, identity, digest, uid)
        if found is None or not found.is_foreign:
            return found

        def beat() -> None:
            self._report(ArtifactState("", identity, "beat"))

        return self._places.take_over(found, session, identity, digest, uid, beat)

    def _log(self, pending: PendingArtifact, content: Content) -> ArtifactState:
        record, session = pending.record, pending.session
        for number in range(1, ARTIFACT_TRIES + 1):
            self._report(ArtifactState(session, record.id, "uploading"))
            try:
                if self._door.online:
                    return ArtifactState(session, record.id, "committed", info=self._upload(record, content))
                if record.id not in self._already:
                    self._door.begin(record, self._kept.take(record.id, content))
                    while not self._is_readable():
                        time.sleep(ARTIFACT_POLL_S)
                return ArtifactState(session, record.id, "recorded")
            except ArtifactRefusedError as error:
                log.error("artifact_refused name=%s try=%d reason=%r", record.name, number, str(error))
                if not error.may_pass or number == ARTIFACT_TRIES:
                    return _failed(pending, str(error))
                time.sleep(number * ARTIFACT_TRY_PAUSE_S)
            except OSError as error:
                return _failed(pending, f"its content cannot be kept: {error}")
        raise AssertionError("the loop returns")

    def _upload(self, record: Artifact, content: Content) -> dict[str, Any]:
        artifact = self._door.begin(record, content)
        while True:
            info = self._door.wait(artifact, ARTIFACT_BEAT_S)
            if info is not None:
                log.info("artifact_committed name=%s version=%s", record.name, info.get("version"))
                if content.place == "kept":
                    shutil.rmtree(content.folder, ignore_errors=True)
                return info
            self._report(ArtifactState("", record.id, "beat"))

    def _link(self, reader: InboxReader, pending: PendingArtifact) -> ArtifactState | None:
        record = pending.record
        source = record.source
        if "/" not in source:  # an artifact of this session: it must be there first
            key = (pending.session, source)
            found = reader.artifact_info(*key)
            state, info = found if found is not None else ("failed", {})
            if key in self._ended:
                state, info = self._ended[key].state, self._ended[key].info or {}
            if state == "failed":
                return _failed(pending, "the artifact that it links to failed")
            if state != "committed":
                return None
            source = f"{info['entity']}/{info['project']}/{info['name']}"
        if not self._door.online:
            return _failed(pending, "a link needs W&B's server, and the run is offline")
        return ArtifactState(
            pending.session, record.id, "committed", info=self._door.link(source, record.target, record.aliases)
        )


def _failed(pending: PendingArtifact, why: str) -> ArtifactState:
    return ArtifactState(pending.session, pending.record.id, "failed", error=why)
