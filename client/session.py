"""A session: one process's numbered stream of records to the daemon.

Opening, appending and closing never raise for telemetry's own troubles: without a disk the journal is in memory,
without a daemon it waits in the spool. A forked child inherits a session that is silent: it writes nothing of the
parent's.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from client import guard, policy
from client.callbacks import Figures, Watch
from client.console.capture import Capture
from client.console.scribe import Scribe
from client.delivery import Phase
from client.errors import NoAnswerError
from client.facts.gathering import Gathering
from client.fastlog import Tail
from client.journal import format as fmt
from client.journal import links
from client.journal.blobs import Blobs, Chunk
from client.journal.file_system import spool_warning
from client.journal.folder import Home
from client.journal.segment import Segment
from client.journal.supply import Supply
from client.journal.writer import JournalWriter
from client.ledger import Ledger
from client.limits import BLOB_PART_BYTES, SEGMENT_BYTES
from client.payload import Payload, new_blob_id, use_shelves
from client.policy import Policy
from client.protocol import version
from client.protocol.artifacts import ROOT_NAME
from client.protocol.messages import Hello, Report, RunSpec
from client.protocol.records import End, Record, encode
from client.sender import Question, Sender
from client.sweeps import stop

_open_sessions: weakref.WeakSet[Session] = weakref.WeakSet()
_spool_told = False


class Session:
    """See the module's head. Thread-safe."""

    append: Callable[..., bool]
    """`append(body, is_row=True)` journals one encoded record: the writer's own method, one call less to pay."""

    def __init__(self, hello: Hello, endpoint: str, home: Home, disk_trouble: str | None, policy: Policy) -> None:
        hello.major, hello.minor = version.MAJOR, version.MINOR
        self.hello = hello
        self.endpoint = endpoint
        self.policy = policy
        self.forked = False
        self._home = home
        self._closing = threading.Lock()
        self._closed: bool | None = None
        identity = bytes.fromhex(hello.session)
        self.writer = JournalWriter(identity, _first_segment(home, identity), policy.memory_max_bytes)
        self.tail: Tail | None = self.writer
        self.blobs = Blobs(lambda: home.path if home.held else None)
        self._supply = Supply(self.writer, self.blobs, home, policy.spool_max_bytes, disk_trouble)
        self._sender = Sender(
            hello,
            endpoint,
            self.writer,
            self.blobs,
            self._supply,
            self._tell_spool,
            self._tell_absent,
            self._stop,
            self._tell_refused,
        )
        self.append = self._append_when_room if policy.on_full == "block" else self.writer.append
        self._watch: Watch | None = None
        self._facts: Gathering | None = None
        self._console: Capture | None = None
        _open_sessions.add(self)

    @classmethod
    def open(cls, hello: Hello, *, endpoint: str, spool_dir: Path, policy: Policy | None = None) -> Session:
        """Open a session and start shipping it. Never raises for telemetry's own troubles.

        Without a `policy` it is the environment's; one that cannot be read is told, and the default is used.
        """
        home = Home(spool_dir, hello)
        trouble = None
        try:
            home.make()
        except OSError as error:
            trouble = f"{error.strerror or error}: {home.path}"
            guard.swallow("journal.spool", error)
        session = cls(hello, endpoint, home, trouble, policy or _policy_of_environment())
        # Spares now, and not on the sender's first turn: on a busy machine that may come after 50,000 rows, which would
        # go into memory that dies with the process.
        session._supply.begin(time.monotonic())
        session._sender.start()
        use_shelves(session.blobs)
        session._watch = Watch.start(session.policy, session._figures)
        return session

    def gather_facts(self, run: RunSpec) -> None:
        """Look up, beside training, what W&B shows of this process: one Process record, some moments from now."""
        code = bool(run.save_code) and not run.settings.get("disable_code")
        self._facts = Gathering(self.record, run.metadata, run.settings, code=code)
        self._facts.start()

    def capture_console(self, mode: str) -> None:
        """Record what this process prints, as the setting `console` says, until the session ends."""
        self._console = Capture(Scribe(self.record), self.hello.launch)
        self._console.start(mode)
        self._sender.each_turn = self._console.tick

    def record(self, record: Record) -> bool:
        """Encode and journal a record that is not a row. The End goes in even at the caps, behind what was lost."""
        if isinstance(record, End):
            if self._facts is not None and not self.forked:
                self._facts.finish()
            if self._console is not None and not self.forked:
                self._console.stop()
            self.writer.append_losses(vital=True)
            return self.writer.append_vital(encode(record))
        return self.writer.append(encode(record), is_row=False)

    def _append_when_room(self, body: bytes, is_row: bool = True) -> bool:
        """`append` under on_full="block": at a cap, wait for room first."""
        has_room = self.writer.has_room
        size = len(body)
        if not has_room(size) and self._sender.running and not self.forked:
            self._sender.wait(lambda: has_room(size), self.policy.on_full_timeout_s)
        return self.writer.append(body, is_row)

    def place(self, payload: Payload) -> int:
        """Journal the bytes of a media value; the id under which a record may name them, 0 when a cap keeps them out.

        Bytes captured on another session's shelf, or before there was a session, are copied once more.
        """
        try:
            chunk = payload.chunk
            if chunk is None or not self.blobs.owns(chunk):
                chunk = self._room_for(payload.size)
                if chunk is None:
                    return 0
                chunk.view[:] = payload.view
                payload.moved_to(chunk)
            blob_id = new_blob_id()
            for start in range(0, chunk.size, BLOB_PART_BYTES):
                size = min(BLOB_PART_BYTES, chunk.size - start)
                body = links.link(blob_id, start, chunk.shelf.index, chunk.offset + start, size)
                if not self.writer.append_link(body, chunk):
                    return 0
            return blob_id
        except Exception as error:  # noqa: BLE001 - the value is lost and counted, training goes on
            guard.swallow("journal.place", error)
            return 0

    def _room_for(self, size: int) -> Chunk | None:
        chunk = self.blobs.take(size)
        if chunk is None and self.policy.on_full == "block" and self._sender.running and not self.forked:
            found: list[Chunk | None] = [None]

            def taken() -> bool:
                found[0] = self.blobs.take(size)
                return found[0] is not None

            self._sender.wait(taken, self.policy.on_full_timeout_s)
            chunk = found[0]
        return chunk

    @property
    def folder(self) -> Path | None:
        """The session's folder in the spool; None while there is none."""
        return self._home.path if self._home.held else None

    @property
    def ledger(self) -> Ledger:
        """Where the rows stand. `pending` is an upper bound while records that are no rows are on the way."""
        writer = self.writer
        dropped = dict(writer.dropped)
        rows = writer.rows
        pending = min(rows, max(0, writer.sequence - self._sender.delivery.acked))
        return Ledger(rows + sum(dropped.values()), rows - pending, pending, dropped)

    @property
    def report(self) -> Report | None:
        """The daemon's newest word on the run."""
        return self._sender.report

    @property
    def connected(self) -> bool:
        """Whether the daemon has taken the session on the connection as it is now."""
        return self._sender.delivery.phase is Phase.OPEN

    @property
    def refusal(self) -> str | None:
        """Why the daemon takes nothing at present, in its words."""
        return self._sender.refusal or self._sender.delivery.refusal

    @property
    def clock_offset_ns(self) -> int | None:
        """The daemon's clock minus this machine's, as of the newest greeting; None while there was none."""
        return self._sender.clock_offset_ns

    @property
    def disk_trouble(self) -> str | None:
        """Why the journal is in memory only."""
        return self._supply.disk_trouble

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until the daemon has taken the session."""
        return self.connected or self._sender.wait(lambda: self.connected, timeout_s)

    def wait_acked(self, timeout_s: float) -> bool:
        """Wait until everything appended so far is in the daemon's inbox."""
        mark = self.writer.sequence
        return self._sender.wait(lambda: self._sender.delivery.acked >= mark, timeout_s)

    def wait_report(self, predicate: Callable[[Report], bool], timeout_s: float) -> Report | None:
        """Wait for a report that fulfils `predicate`; None when none came in time."""

        def fulfilled() -> bool:
            report = self._sender.report
            return report is not None and predicate(report)

        return self._sender.report if self._sender.wait(fulfilled, timeout_s) else None

    def ask(self, kind: str, args: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Ask the daemon on this session's connection. Raises NoAnswerError."""
        if self.forked or self._closed is not None:
            raise NoAnswerError("the session is closed")
        return self._sender.ask(kind, args, timeout_s)

    def post(self, kind: str, args: dict[str, Any]) -> Question:
        """Ask the daemon without waiting. Raises NoAnswerError."""
        if self.forked or self._closed is not None:
            raise NoAnswerError("the session is closed")
        return self._sender.post(kind, args)

    @property
    def stage_root(self) -> Path | None:
        """The folder for the content of artifacts, which outlives the session's own."""
        return self._home.path.parent / ROOT_NAME

    def close(self, timeout_s: float) -> bool:
        """Ship what is left for at most `timeout_s`, then end the session.

        Returns whether the daemon has everything; then the spool folder is gone. Otherwise it is left, unlocked, for a
        daemon to adopt. Records appended after this are dropped as "finished". Closing twice is harmless.
        """
        if self.forked:
            return False
        with self._closing:
            if self._closed is None:
                self._closed = self._close(timeout_s)
            return self._closed

    def _close(self, timeout_s: float) -> bool:
        self.writer.close("finished")
        self.blobs.close()
        done = self._sender.stop(timeout_s)
        self._supply.close()
        if not done:
            self._supply.save_rest()
        self.writer.release()
        self.blobs.release()
        if done:
            self._home.remove()
        self._home.release()
        if self._watch is not None:
            self._watch.stop()
        _open_sessions.discard(self)
        return done

    def _figures(self) -> Figures:
        """What the callbacks are called for: this process's losses and pending rows, and what the daemon says."""
        ledger, report = self.ledger, self._sender.report
        dropped = dict(ledger.dropped)
        if report is None:
            return Figures(dropped, ledger.pending, ledger.acked, None)
        for reason, count in report.dropped.items():
            dropped[reason] = max(count, dropped.get(reason, 0))
        trouble = report.trouble if report.state in ("retrying", "refused") else None
        pending = max(ledger.pending, report.pending)
        return Figures(dropped, pending, ledger.acked + report.delivered, trouble)

    def _orphan(self) -> None:
        """Runs in a forked child: silence the copy. The memory, the thread, the socket are the parent's."""
        self.forked = True
        self.writer.orphan()
        self.blobs.orphan()
        self._sender.orphan()
        self._closing = threading.Lock()
        self._home.release()

    def _stop(self) -> None:
        """W&B's stop button was pressed: pass it on to training as the signal that the policy says."""
        number = self.policy.stop_signal
        main = threading.main_thread().ident
        if number is None or main is None or self.hello.role != "train":
            return
        if self.hello.run is not None and self.hello.run.settings.get("sweep_id") and not stop.first():
            return
        print(
            f"telemetryd: W&B asks this run to stop: process {os.getpid()} gets {number.name}"
            " (choose another with TELEMETRYD_STOP_SIGNAL)",
            file=sys.stderr,
            flush=True,
        )
        signal.pthread_kill(main, number)  # to that thread, so that it wakes from what it waits for

    def _tell_spool(self) -> None:
        """Once a process: what its user should know of the spool. A launcher's command need not repeat it."""
        global _spool_told
        if _spool_told or (self.hello.role != "console" and self.hello.launch):
            return
        _spool_told = True
        warning = spool_warning(self._home.path.parent)
        if warning:
            print(f"telemetryd: {warning}; choose a local disk with TELEMETRYD_SPOOL_DIR", file=sys.stderr, flush=True)

    def _tell_refused(self, reason: str) -> None:
        if self.hello.role == "node":  # its agent asks by a connection of its own, and hears the same
            return
        print(f"telemetryd: {reason}. What you log is kept until it does.", file=sys.stderr, flush=True)

    def _tell_absent(self) -> None:
        if self.hello.role != "train":  # a launcher, or a node's sampler, has said so itself
            return
        where = f"kept in {self.folder}" if not self.disk_trouble else f"kept in memory only ({self.disk_trouble})"
        print(
            f"telemetryd: no daemon answers at {self.endpoint}; what you log is {where} until one does."
            " Start one with `telemetryd serve`, or the job with `telemetryd run -- …`.",
            file=sys.stderr,
            flush=True,
        )


def _first_segment(home: Home, identity: bytes) -> Segment | None:
    if not home.held:
        return None
    try:
        segment = Segment.in_file(home.path / fmt.file_name(1), SEGMENT_BYTES, identity)
    except OSError as error:
        guard.swallow("journal.disk", error)
        return None
    segment.populate()
    return segment


def _policy_of_environment() -> Policy:
    try:
        return policy.resolve({})
    except ValueError as error:
        guard.swallow("session.policy", error)
        return Policy()


def _silence_in_child() -> None:
    guard.renew_after_fork()
    for session in list(_open_sessions):
        session._orphan()
    _open_sessions.clear()


os.register_at_fork(after_in_child=_silence_in_child)
