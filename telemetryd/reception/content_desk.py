"""Content that comes over the wire, on a thread of its own: reception never waits for this disk.

    artifact_content   is it here? whole below a root of ours, or how far each file has come
    artifact_chunk     the next piece of a file; its answer is the client's credit for another one
    artifact_read      a piece of a file in the download cache

Invariants
* Every file grows from its end only, so a piece that comes twice, or too early, changes nothing.
* Content is whole when its manifest has the digest that the Staged record gave and every file its size; the folder gets
  its name then. Until then it counts against the cap.
* A client writes below <state>/artifacts/<its session>/<artifact> and nowhere else, by numbers, not by names.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from client.protocol.artifacts import IDENTITY, MANIFEST_NAME, PARTIAL_SUFFIX, folder
from client.protocol.messages import Answer, Ask
from telemetryd.errors import InboxError
from telemetryd.health.counters import Counters
from telemetryd.inbox import content
from telemetryd.inbox.artifacts import ENDS
from telemetryd.inbox.content import ContentError, PeerError, Places
from telemetryd.inbox.home import Home
from telemetryd.inbox.store import Inbox
from telemetryd.limits import ARTIFACT_FILES_MAX, CONTENT_QUEUE_MAX

log = logging.getLogger(__name__)

KINDS = frozenset({"artifact_content", "artifact_chunk", "artifact_read"})
OF_SESSION = frozenset({"artifact_content", "artifact_chunk"})
"""Those that only the connection of the session may ask."""
READ_MAX_BYTES = 512 << 10
_MANIFEST = -1

Reply = Callable[[bytes, Answer], None]


class ContentDesk:
    """See the module's head."""

    def __init__(
        self, home: Home, places: Places, cache: Path, max_bytes: int, counters: Counters, reply: Reply
    ) -> None:
        """`reply(connection, answer)` is called on the thread."""
        self._home = home
        self._places = places
        self._cache = cache
        self._max_bytes = max_bytes
        self._counters = counters
        self._reply = reply
        self._queue: queue.Queue[tuple[bytes, Ask] | None] = queue.Queue(CONTENT_QUEUE_MAX)
        self._declared: dict[tuple[str, str], int] = {}
        self._thread = threading.Thread(target=self._main, name="content", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def take(self, connection: bytes, ask: Ask) -> bool:
        """Take a question; False when too many wait already."""
        try:
            self._queue.put_nowait((connection, ask))
        except queue.Full:
            return False
        return True

    def close(self, timeout_s: float = 10.0) -> None:
        """End the thread; what waits is asked again of the next daemon."""
        if self._thread.ident is not None:
            while True:
                try:
                    self._queue.put(None, timeout=timeout_s)
                    break
                except queue.Full:
                    return
            self._thread.join(timeout_s)

    def _main(self) -> None:
        try:
            inbox = Inbox(self._home.path, self._home)
        except InboxError as error:
            log.error("content_desk_ended error=%r", str(error))
            return
        try:
            while (item := self._queue.get()) is not None:
                connection, ask = item
                self._reply(connection, self._answer(inbox, ask))
        finally:
            inbox.close()

    def _answer(self, inbox: Inbox, ask: Ask) -> Answer:
        try:
            if ask.kind == "artifact_read":
                return Answer(ask.id, self._read(ask.args))
            return Answer(ask.id, self._of_artifact(inbox, ask.kind, ask.args))
        except (InboxError, OSError, KeyError, TypeError, ValueError) as error:
            return Answer(ask.id, error=f"{ask.kind}: {error}")

    # Taking

    def _of_artifact(self, inbox: Inbox, kind: str, args: dict[str, Any]) -> dict[str, Any]:
        session, identity = str(args["session"]), str(args["id"])
        final = folder(self._places.wire_root, session, identity)
        standing = inbox.artifacts.standing(session, identity)
        if standing is None or standing.state == "announced":
            return {"unknown": True}
        if standing.state in ENDS:
            return {"here": "spool"} if standing.state != "failed" else {"error": standing.error or "it failed"}
        partial = final.with_name(f"{identity}{PARTIAL_SUFFIX}")
        if kind == "artifact_chunk":
            return self._chunk((session, identity), partial, args)
        peer_uid = inbox.intake.peer_uid(session)
        try:
            found = self._places.find(session, identity, standing.manifest, peer_uid)
        except ContentError as error:
            if isinstance(error, PeerError):
                self._refused((session, identity), str(error))
            return {"error": str(error)}
        if found is not None:
            return {"here": found.place}
        if (session, identity) not in self._declared and (why := self._places.refusal(session, peer_uid)):
            self._refused((session, identity), f"{why}: they may send it")
        return self._begin((session, identity), partial, final, standing.manifest, int(args["size_bytes"]))

    def _begin(self, key: tuple[str, str], partial: Path, final: Path, digest: str, size_bytes: int) -> dict[str, Any]:
        have = _sizes(partial)
        if sum(have.values()) >= size_bytes and have:
            try:
                if content.whole(partial, digest) is not None:
                    partial.rename(final)
                    self._declared.pop(key, None)
                    return {"here": "wire"}
            except ContentError as error:
                log.warning("content_refused session=%s id=%s reason=%r", *key, str(error))
            content.remove(final)
            have = {}
        room = self._max_bytes - content.size_of(self._places.wire_root) + sum(have.values())
        if size_bytes > room:
            return {"error": f"the daemon's staging is full: {size_bytes} bytes, and {room} are free of the cap of"
                    f" {self._max_bytes} (artifact_max_bytes)"}  # fmt: skip
        partial.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._declared[key] = size_bytes - sum(have.values())
        return {"have": {str(number): size for number, size in have.items()}}

    def _refused(self, key: tuple[str, str], why: str) -> None:
        self._counters.add("paths_refused")
        log.warning("content_refused session=%s id=%s reason=%r", *key, why)

    def _chunk(self, key: tuple[str, str], partial: Path, args: dict[str, Any]) -> dict[str, Any]:
        number, offset, data = int(args["file"]), int(args["offset"]), bytes(args["data"])
        if key not in self._declared or not partial.is_dir():
            raise ValueError("ask artifact_content first")
        if not _MANIFEST <= number < ARTIFACT_FILES_MAX:
            return {"error": f"an artifact has no file {number}"}
        if zlib.crc32(data) != args["crc"]:
            raise ValueError("a piece of content does not match its checksum")
        descriptor = os.open(partial / _name(number), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if offset != size:
                raise ValueError(f"file {number} goes on at byte {size}, not {offset}")
            if len(data) > self._declared[key]:
                return {"error": "more content came than was announced"}
            os.pwrite(descriptor, data, offset)
        finally:
            os.close(descriptor)
        self._declared[key] -= len(data)
        self._counters.add("content_bytes_received", len(data))
        return {"size": offset + len(data)}

    # Giving

    def _read(self, args: dict[str, Any]) -> dict[str, Any]:
        key, number = str(args["key"]), int(args["file"])
        offset, size = int(args["offset"]), min(int(args["size"]), READ_MAX_BYTES)
        if not IDENTITY.fullmatch(key):
            raise ValueError("a key is 32 hexadecimal digits")
        descriptor = os.open(self._cache / key / _name(number), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        os.utime(self._cache / key)  # what is being read is not removed from the cache
        try:
            return {"data": os.pread(descriptor, size, offset)}
        finally:
            os.close(descriptor)


def _name(number: int) -> str:
    return MANIFEST_NAME if number == _MANIFEST else str(number)


def _sizes(partial: Path) -> dict[int, int]:
    """How far each file has come."""
    try:
        entries = list(os.scandir(partial))
    except FileNotFoundError:
        return {}
    sizes = {}
    for entry in entries:
        if entry.name == MANIFEST_NAME or entry.name.isdigit():
            sizes[_MANIFEST if entry.name == MANIFEST_NAME else int(entry.name)] = entry.stat().st_size
    return sizes
