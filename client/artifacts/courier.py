"""The thread that sees staged content to the daemon, and asks what has become of it.

    have it?     the daemon looks below its own roots for a manifest of this digest; if it finds it, the disk is shared
    send         else the bytes go in chunks, at most ARTIFACT_CREDIT_CHUNKS without an answer; an answer is a credit
    how is it?   every ARTIFACT_POLL_S, until each artifact has come to its end

Invariants
* Chunks travel behind metrics: the sender ships rows first, and one chunk at a time.
* The daemon says how far it has each file; after a restart of it, or a lost answer, sending goes on from there.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
import zlib
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from client import guard
from client.artifacts.upload import Upload
from client.errors import NoAnswerError
from client.limits import ARTIFACT_ASK_TIMEOUT_S, ARTIFACT_CHUNK_BYTES, ARTIFACT_CREDIT_CHUNKS, ARTIFACT_POLL_S
from client.protocol.artifacts import MANIFEST_NAME
from client.protocol.messages import Hello
from client.sender import Question

_STATES_AT_ONCE = 100
_STOP_LOOK_S = 0.1
_MANIFEST = -1
"""The number of the manifest among an artifact's files."""


@dataclass
class _Parcel:
    """An artifact on its way; `folder` None: there is nothing to deliver (a link, a use, or it is delivered)."""

    upload: Upload
    folder: Path | None
    unknown: bool = False


class Line(Protocol):
    """What the courier needs of a session."""

    @property
    def hello(self) -> Hello:
        """Who speaks."""

    @property
    def connected(self) -> bool:
        """Whether a daemon has taken the session."""

    def post(self, kind: str, args: dict[str, Any]) -> Question:
        """Ask the daemon without waiting for the answer."""


class Courier:
    """See the module's head."""

    def __init__(self, stream: Line) -> None:
        self._stream = stream
        self._session = stream.hello.session
        self._parcels: list[_Parcel] = []
        self._changed = threading.Condition()
        self._stop = False
        self._thread: threading.Thread | None = None

    def watch(self, upload: Upload, folder: Path | None) -> None:
        """See to an artifact whose content (if it has any) is staged in `folder`."""
        with self._changed:
            self._parcels.append(_Parcel(upload, folder))
            self._changed.notify_all()
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="telemetryd-courier", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # as in Line
                guard.swallow("artifact.thread", error)
                return
            self._thread = thread

    def settle(self, timeout_s: float) -> bool:
        """Wait until a connected daemon has all content; whether it has."""

        def settled() -> bool:
            return not self._stream.connected or all(parcel.folder is None for parcel in self._parcels)

        end_s = time.monotonic() + timeout_s
        with self._changed:
            while not settled() and (left_s := end_s - time.monotonic()) > 0:
                self._changed.wait(min(left_s, ARTIFACT_POLL_S))
            return all(parcel.folder is None for parcel in self._parcels)

    def look(self, timeout_s: float) -> None:
        """Ask once more, on the caller's thread: the run is over, and so perhaps is an artifact's way."""
        if self._stream.connected and self._parcels:
            try:
                self._poll(timeout_s)
            except NoAnswerError:
                return

    def deliver_now(self, identity: str, folder: Path) -> str | None:
        """On the caller's thread: see a dead process's content to the daemon. Why that cannot be; None when it has it.

        Raises NoAnswerError, OSError.
        """
        parcel = _Parcel(Upload(identity, identity), folder)
        while not self._deliver(parcel, folder):
            if parcel.upload.done:
                return parcel.upload.error
            if parcel.unknown:
                return "it was never announced: the process died between the copy and its record"
        return None

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(ARTIFACT_ASK_TIMEOUT_S)  # it looks every tenth of a second whether it is to end

    def orphan(self) -> None:
        """In a forked child: the thread is the parent's."""
        self._changed = threading.Condition()
        self._parcels.clear()
        self._thread = None

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._parcels and not self._stop:
                    self._changed.wait()
                if not self._stop:
                    self._changed.wait(ARTIFACT_POLL_S)
                if self._stop:
                    return
                parcels = list(self._parcels)
            if not self._stream.connected:
                continue
            try:
                self._poll()
                for parcel in parcels:
                    if parcel.folder is not None and not self._stop:
                        self._see_to(parcel, parcel.folder)
            except NoAnswerError as error:
                if "unknown question" in str(error):
                    self._give_up("the daemon is older than artifacts: update it")
            except Exception as error:  # noqa: BLE001 - whatever it was, the next turn tries again
                guard.swallow("artifact.courier", error)

    def _give_up(self, why: str) -> None:
        with self._changed:
            parcels, self._parcels = self._parcels, []
            self._changed.notify_all()
        for parcel in parcels:
            parcel.upload.move("failed", error=why)

    # Delivering

    def _see_to(self, parcel: _Parcel, folder: Path) -> None:
        try:
            done = self._deliver(parcel, folder)
        except FileNotFoundError:  # W&B has it already, and so it went
            done = True
        if done or parcel.upload.done:
            with self._changed:
                parcel.folder = None
                self._changed.notify_all()

    def _deliver(self, parcel: _Parcel, folder: Path) -> bool:
        """Send what the daemon lacks; whether it has all. Raises NoAnswerError, and FileNotFoundError."""
        where = {"session": self._session, "id": parcel.upload.id}
        manifest = (folder / MANIFEST_NAME).read_bytes()
        files = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
        sizes = {_MANIFEST: len(manifest)} | {number: (folder / str(number)).stat().st_size for number in files}
        answer = self._ask("artifact_content", {**where, "size_bytes": sum(sizes.values()), "files": len(sizes)})
        if answer.get("error"):
            parcel.upload.move("failed", error=str(answer["error"]))
        elif answer.get("here"):
            if answer["here"] == "wire":
                shutil.rmtree(folder, ignore_errors=True)
            return True
        elif answer.get("unknown"):  # its record is still on the way; ask again
            parcel.unknown = True
        else:
            parcel.upload.total_bytes, parcel.upload.done_bytes = sum(sizes.values()), 0
            parcel.upload.move("sending")
            have = dict(answer.get("have") or {})
            for number, size in sizes.items():
                path = folder / (MANIFEST_NAME if number == _MANIFEST else str(number))
                if not self._send(parcel, where, number, path, int(have.get(str(number), 0)), size):
                    break
        return False  # asked once more: only the daemon knows that it is whole

    def _send(self, parcel: _Parcel, where: dict[str, str], number: int, path: Path, offset: int, size: int) -> bool:
        """Send a file from `offset` on; False when it failed or the courier ends. Raises NoAnswerError."""
        parcel.upload.advance(offset)
        on_the_way: deque[tuple[Question, int]] = deque()
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            sent = offset
            while True:
                while len(on_the_way) < ARTIFACT_CREDIT_CHUNKS and (sent < size or (size == 0 and not on_the_way)):
                    data = os.pread(descriptor, min(ARTIFACT_CHUNK_BYTES, size - sent), sent)
                    chunk = {**where, "file": number, "offset": sent, "data": data, "crc": zlib.crc32(data)}
                    on_the_way.append((self._stream.post("artifact_chunk", chunk), len(data)))
                    sent += len(data)
                    if size == 0:
                        break
                if self._stop or not on_the_way:
                    return not self._stop
                question, length = on_the_way.popleft()
                answer = self._answered(question)
                if answer.get("error"):
                    parcel.upload.move("failed", error=str(answer["error"]))
                    return False
                parcel.upload.advance(length)
                if size == 0:
                    return True
        finally:
            os.close(descriptor)

    # Hearing

    def _poll(self, timeout_s: float = ARTIFACT_ASK_TIMEOUT_S) -> None:
        with self._changed:
            known = {parcel.upload.id: parcel.upload for parcel in self._parcels}
        ids = list(known)
        for start in range(0, len(ids), _STATES_AT_ONCE):
            answer = self._ask(
                "artifacts", {"session": self._session, "ids": ids[start : start + _STATES_AT_ONCE]}, timeout_s
            )
            for identity, said in dict(answer.get("artifacts") or {}).items():
                state = str(said.get("state"))
                if state in ("uploading", "committed", "recorded", "failed") and identity in known:
                    known[identity].move(state, error=said.get("error"), info=said.get("info"))
        with self._changed:
            self._parcels = [parcel for parcel in self._parcels if not parcel.upload.done]
            self._changed.notify_all()

    def _ask(self, kind: str, args: dict[str, Any], timeout_s: float = ARTIFACT_ASK_TIMEOUT_S) -> dict[str, Any]:
        return self._answered(self._stream.post(kind, args), timeout_s)

    def _answered(self, question: Question, timeout_s: float = ARTIFACT_ASK_TIMEOUT_S) -> dict[str, Any]:
        """The answer, unless the courier ends meanwhile. Raises NoAnswerError."""
        end_s = time.monotonic() + timeout_s
        while not self._stop and not question.answered.wait(_STOP_LOOK_S) and time.monotonic() < end_s:
            pass
        return question.result(0)
