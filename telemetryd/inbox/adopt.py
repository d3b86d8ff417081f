"""Adoption: what a dead process left in the spool goes into the inbox, and its session is ended or lost.

Invariants
* A folder is touched only under its owner's lock, which the kernel gives out when the owner is dead, and not while the
  session has a connection.
* Records go in through the same dedupe as those from the wire. A gap in the journal is accepted: the missing records
  went over the wire from the owner's memory, or died with it; but a little later, so that those still queued go first.
* What is read belongs to the same user as the folder, and no link is followed: whoever may make a folder in the spool
  reads nothing through the daemon that they may not.
* The folder is removed after the commit of everything in it. Whatever cannot be read stays where it is.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from client.journal import folder as spool
from client.journal.reader import SpoolContent, Stretch, read_spool
from client.protocol.errors import ProtocolError
from telemetryd.errors import SessionClaimError, UnknownSessionError
from telemetryd.health.counters import Counters
from telemetryd.inbox.claims import hello_problem
from telemetryd.inbox.store import Inbox
from telemetryd.limits import ADOPT_SETTLE_S

log = logging.getLogger(__name__)

_SESSION = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Adopted:
    """A folder that was taken over."""

    session: str
    run_id: int | None
    records: int


class NoRoomError(Exception):
    """The inbox is at its cap: adoption waits."""


class Adopter:
    """Takes over the folders of one spool. Used by one thread."""

    def __init__(
        self,
        inbox: Inbox,
        spool_dir: Path,
        inbox_max_bytes: int,
        counters: Counters,
        connected: Callable[[], frozenset[str]],
        stop: threading.Event,
    ) -> None:
        self._inbox = inbox
        self._spool_dir = spool_dir
        self._max_bytes = inbox_max_bytes
        self._counters = counters
        self._connected = connected
        self._stop = stop
        self._gap_seen_s: dict[str, float] = {}
        self._unreadable: set[str] = set()

    def folders(self) -> list[Path]:
        """The spool's session folders that have not proved unreadable. Raises OSError when the spool cannot be read."""
        try:
            entries = sorted(self._spool_dir.iterdir())
        except FileNotFoundError:
            return []
        return [
            entry
            for entry in entries
            if entry.name not in self._unreadable
            and _SESSION.fullmatch(entry.name)
            and entry.is_dir()
            and not entry.is_symlink()
        ]

    def scan(self, now_s: float) -> list[Adopted]:
        """Adopt every folder whose owner is dead.

        Raises NoRoomError at the inbox's cap, InboxError when the inbox fails, OSError when the spool cannot be read.
        """
        adopted = []
        for folder in self.folders():
            if self._stop.is_set():
                break
            if folder.name in self._connected() or not (folder / spool.HELLO_NAME).exists():
                continue  # its owner lives, or is only just making it
            try:
                found = self._try(folder, now_s)
            except (OSError, ValueError, SessionClaimError, ProtocolError) as error:
                self._give_up(folder, error)
                continue
            if found is not None:
                adopted.append(found)
        return adopted

    def _give_up(self, folder: Path, error: Exception) -> None:
        if not folder.exists():  # its owner removed it meanwhile
            return
        self._unreadable.add(folder.name)
        self._counters.add("adoption_errors")
        log.error(
            "adoption_failed folder=%s error=%r; it stays there, and is tried again at the next start", folder, error
        )

    def _try(self, folder: Path, now_s: float) -> Adopted | None:
        lock = spool.OwnerLock.take(folder)
        if lock is None:
            return None
        try:
            if not (folder / spool.HELLO_NAME).exists():  # removed by its owner in the meantime
                return None
            return self._adopt(read_spool(folder), now_s)
        finally:
            lock.release()

    def _adopt(self, content: SpoolContent, now_s: float) -> Adopted | None:
        session = content.hello.session
        problem = hello_problem(content.hello)
        if problem or session != content.folder.name:
            raise ValueError(problem or f"its hello is of session {session}")
        acked, run_id = self._introduce(content)
        records = 0
        for stretch in content.stretches():
            if self._stop.is_set():
                return None
            if stretch.last <= acked:
                continue
            if stretch.first > acked + 1 and not self._settled(session, now_s):
                return None
            new, acked, run_id = self._append(session, stretch)
            records += new
        for damage in content.damage:
            log.warning("spool_damaged session=%s damage=%r", session, damage)
        with self._inbox.transaction():
            lost, run_id = self._inbox.intake.lose(session, time.time_ns())
        spool.remove(content.folder)
        if content.folder.exists():
            self._unreadable.add(content.folder.name)
            log.error("spool_not_removed folder=%s; its records are kept, remove it by hand", content.folder)
        self._gap_seen_s.pop(session, None)
        self._counters.add("adopted_sessions")
        self._counters.add("adopted_records", records)
        if lost:
            self._counters.add("sessions_lost")
        log.info("session_adopted session=%s run=%s records=%d lost=%s", session, run_id, records, lost)
        return Adopted(session, run_id, records)

    def _introduce(self, content: SpoolContent) -> tuple[int, int | None]:
        """(acked, run) of the session, which says hello through its folder if it never did by wire."""
        with self._inbox.transaction():
            try:
                acked = self._inbox.intake.acked(content.hello.session)
                self._inbox.intake.spoke(content.hello.session, content.owner)
                return acked, None
            except UnknownSessionError:
                greeted = self._inbox.intake.hello(content.hello, time.time_ns(), content.owner)
                return greeted.acked, greeted.run_id

    def _settled(self, session: str, now_s: float) -> bool:
        return now_s - self._gap_seen_s.setdefault(session, now_s) >= ADOPT_SETTLE_S

    def _append(self, session: str, stretch: Stretch) -> tuple[int, int, int | None]:
        if self._inbox.database.used_bytes() + len(stretch.payload) > self._max_bytes:
            raise NoRoomError(f"the inbox is at its cap of {self._max_bytes} bytes; the spool waits")
        with self._inbox.transaction():
            kept = self._inbox.intake.append(session, stretch.first, stretch.last, stretch.payload, gap_allowed=True)
        return kept.records, kept.acked, kept.run_id
