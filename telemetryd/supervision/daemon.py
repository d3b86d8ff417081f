"""The daemon: reception, undertaker and supervisor wired together, from the first lock to the last word on stderr.

    main thread     signals, worker pipes, run lifecycle (Supervisor)         ┐
    reception       the socket, one inbox transaction a turn (Reception)      ├ each with its own inbox connection
    undertaker      sessions of dead processes (Undertaker)                   │
    http            /metrics and its neighbours, read only (web.HttpPort)     ┘

The threads share the health, counter and delivery boards, and wake each other with bells; no thread waits for another.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import selectors
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import telemetryd
from client.protocol import version
from telemetryd.bell import Bell, ringing
from telemetryd.errors import InboxError, PlaceError
from telemetryd.health.counters import Counters
from telemetryd.health.deliveries import Deliveries
from telemetryd.health.events import Events
from telemetryd.health.pulse import Pulse
from telemetryd.health.status import Health, State
from telemetryd.inbox import database
from telemetryd.inbox.checkpointer import Checkpointer
from telemetryd.inbox.content import Places
from telemetryd.inbox.home import Home
from telemetryd.inbox.ledger import Account
from telemetryd.inbox.store import FILE_NAME, Inbox
from telemetryd.limits import (
    CALM_TICK_S,
    FORGET_RUNS_AFTER_S,
    IDLE_EXIT_AFTER_S,
    INBOX_VACUUM_PAGES,
    TICK_S,
    UNUSED_EXIT_AFTER_S,
)
from telemetryd.reception import endpoint
from telemetryd.reception.keys import Keyring
from telemetryd.reception.reception import Reception
from telemetryd.settings.rules import limits_of
from telemetryd.supervision import allocator, leftovers, state_folder
from telemetryd.supervision.api_process import ApiProcess
from telemetryd.supervision.sampling import Sampling, SamplingSettings
from telemetryd.supervision.service_manager import ServiceManager
from telemetryd.supervision.shutdown import Shutdown
from telemetryd.supervision.supervisor import Supervisor
from telemetryd.supervision.undertaker import Undertaker
from telemetryd.supervision.watchdog import HealthSettings, Watchdog
from telemetryd.supervision.worker_process import WORKER_COMMAND
from telemetryd.web.exporter import Exporter, Sources
from telemetryd.web.limits import DEFAULT_ADDRESS
from telemetryd.web.server import HttpPort
from telemetryd.web.snapshot import OwnProcess

log = logging.getLogger(__name__)

_OPEN_ADVICE = (
    "whoever reaches it can read runs' names, counts and the machine's state, without a password: put a firewall or a"
    " proxy before it, or listen at 127.0.0.1"
)


class ServeSettings(SamplingSettings, HealthSettings, Protocol):
    """What the daemon must be told; telemetryd.settings.DaemonSettings has it."""

    @property
    def drain_timeout_s(self) -> float: ...  # noqa: D102
    @property
    def inbox_max_bytes(self) -> int: ...  # noqa: D102
    @property
    def artifact_max_bytes(self) -> int: ...  # noqa: D102
    @property
    def artifact_cache_max_bytes(self) -> int: ...  # noqa: D102
    @property
    def upload_max_bytes_per_s(self) -> int: ...  # noqa: D102
    @property
    def run_dirs(self) -> str: ...  # noqa: D102
    @property
    def late(self) -> str: ...  # noqa: D102
    @property
    def ranks(self) -> str: ...  # noqa: D102
    @property
    def keys_dir(self) -> Path: ...  # noqa: D102
    @property
    def log_level(self) -> str: ...  # noqa: D102
    @property
    def max_workers(self) -> int: ...  # noqa: D102
    @property
    def exit_when_idle(self) -> bool: ...  # noqa: D102
    @property
    def http(self) -> str: ...  # noqa: D102


def serve(settings: ServeSettings, worker_command: Sequence[str] = WORKER_COMMAND) -> int:
    """Run the daemon until it is told to stop; the exit code, 0 for a stop that was asked for.

    Must run in the main thread of a process of its own. Raises PlaceError and AlreadyServingError before anything is
    started.
    """
    _set_up_logging(settings.log_level)
    allocator.give_back_large()
    with contextlib.ExitStack() as stack:
        state_folder.make(settings.state_dir)
        folder_lock = state_folder.FolderLock(settings.state_dir)
        stack.callback(folder_lock.release)
        keyring = Keyring.of(settings.keys_dir) if settings.endpoint.startswith("tcp://") else None
        socket_lock = endpoint.claim(settings.endpoint, has_keys=keyring is not None)
        stack.callback(socket_lock.release)
        inbox_path = settings.state_dir / FILE_NAME
        aside = database.prepare(inbox_path)
        home = Home(inbox_path, folder_lock.hold_on)
        daemon = Daemon(settings, home, worker_command, keyring, inbox_moved_aside=aside is not None)
        return daemon.run()


class Daemon:
    """One daemon's life. Also the Listener of its reception."""

    def __init__(
        self,
        settings: ServeSettings,
        home: Home,
        worker_command: Sequence[str],
        keyring: Keyring | None,
        *,
        inbox_moved_aside: bool,
    ) -> None:
        self._settings = settings
        self._home = home
        self._returns_heeded = 0
        self._health = Health()
        self._counters = Counters()
        self._deliveries = Deliveries()
        self._events = Events()
        self._pulse = Pulse()
        self._sessions_news = True
        self._counters.add("inboxes_moved_aside", int(inbox_moved_aside))
        self._bell = Bell()
        self._lock = threading.Lock()
        self._records_in: set[int] = set()
        self._look_now = True
        self._signals = 0
        self._retiring = False
        self._had_session = False
        self._idle_since_s: float | None = None
        self._started_s = time.monotonic()
        self._shutdown = Shutdown(settings.drain_timeout_s)
        self._service_manager = ServiceManager(os.environ)
        self._said_ready = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._bell.fileno(), selectors.EVENT_READ)
        leftovers.become_subreaper()
        _raise_descriptor_limit()
        for component in ("reception", "adoption"):
            self._health.set(component, State.STARTING)
        self._checkpointer = Checkpointer(home)
        self._inbox = Inbox(home.path, home)
        self._health.set("inbox", State.OK)
        self._delivered_before = self._inbox.ledger.total().delivered
        self._forget_old_runs()
        self._identity = self._facts()
        places = Places(settings.spool_dir, settings.state_dir)
        self._api = ApiProcess(
            settings.state_dir,
            settings.artifact_cache_max_bytes,
            lambda connection, answer: self._reception.answer(connection, answer),
        )
        self._reception = Reception(
            settings.endpoint,
            home,
            settings.inbox_max_bytes,
            self._identity,
            self,
            self._health,
            self._counters,
            self._deliveries,
            self._events,
            places,
            settings.artifact_max_bytes,
            self._api.take,
            keyring,
            lambda: self.sampling.view(),
            self._pulse,
        )
        self._supervisor = Supervisor(
            self._inbox,
            settings.state_dir,
            settings.spool_dir,
            [*worker_command, *_worker_options(settings)],
            settings.max_workers,
            self._health,
            self._counters,
            self._deliveries,
            lambda run_id, important: self._reception.run_changed(run_id, important=important),
            self._selector,
            lambda: {*self.sampling.pids(), *self._api.pids(), *self.watchdog.pids()},
            lambda: self._undertaker.poke(),
            self._events,
        )
        self.sampling = Sampling(
            settings,
            self._inbox.progress,
            self._supervisor,
            self._health,
            self._counters,
            self._events,
            self._selector,
        )
        self.watchdog = Watchdog(
            settings,
            self._inbox,
            home.tails,
            self.sampling,
            self._supervisor.step_of,
            self._events,
            self._counters,
            self.records_came,
            lambda: self._undertaker.poke(),
            lambda run_id: self._deliveries.newest(run_id).step,
        )
        home.node_news = self.watchdog.node_news
        self._supervisor.guard = self.watchdog
        self._undertaker = Undertaker(
            home,
            settings.spool_dir,
            settings.inbox_max_bytes,
            self._health,
            self._counters,
            self._reception.connected,
            self._sessions_died,
            places,
        )
        self._http = self._open_http()

    def _open_http(self) -> HttpPort | None:
        """The HTTP port, as the settings have it. Raises PlaceError when the address that was asked for is taken."""
        setting = self._settings.http
        if setting == "off":
            return None
        sources = Sources(
            self._home,
            self._reception.questions,
            self._identity,
            self._health,
            self._counters,
            self._events,
            self._pulse,
            self.sampling.machine,
            self.sampling.periods_s,
            self.sampling.node,
            self._own_processes,
            self._settings.spool_dir,
            self._settings.inbox_max_bytes,
        )
        address = DEFAULT_ADDRESS if setting == "auto" else setting
        try:
            port = HttpPort(address, Exporter(sources))
        except PlaceError as error:
            if setting != "auto" and not self._settings.exit_when_idle:
                raise
            log.warning("http_off reason=%r", str(error))
            self._health.set("http", State.STOPPED, str(error))
            return None
        self._identity["http"] = port.url
        log.info("http url=%s", port.url)
        if not port.is_loopback:
            log.warning("http_open_to_the_network url=%s advice=%r", port.url, _OPEN_ADVICE)
        self._health.set("http", State.OK)
        return port

    def _own_processes(self) -> list[OwnProcess]:
        """Telemetryd's own processes. Called on HTTP's threads."""
        own = [OwnProcess("daemon", os.getpid())]
        own += [OwnProcess("sampler", pid) for pid in self.sampling.pids()]
        own += [OwnProcess("api", pid) for pid in self._api.pids()]
        for run, worker, core in self._supervisor.own_processes():
            own.append(OwnProcess("worker", worker, run))
            own += [OwnProcess("wandb-core", core, run)] if core is not None else []
        return own

    def _forget_old_runs(self) -> None:
        try:
            for run_id in self._inbox.progress.forget(time.time_ns() - int(FORGET_RUNS_AFTER_S * 1e9)):
                for path in (self._settings.state_dir / "workers").glob(f"{run_id}.*"):
                    path.unlink(missing_ok=True)
        except (InboxError, OSError) as error:  # the next start tries again
            log.warning("old_runs_not_forgotten error=%r", str(error))

    def _facts(self) -> dict[str, Any]:
        return {
            "version": telemetryd.__version__,
            "pid": os.getpid(),
            "protocol": f"{version.MAJOR}.{version.MINOR}",
            "state_dir": str(self._settings.state_dir),
            "spool_dir": str(self._settings.spool_dir),
            "endpoint": self._settings.endpoint,
            "started_ns": time.time_ns(),
            "host": os.uname().nodename,
            "boot_id": leftovers.boot_id(),
            "sampling": self._settings.sampling,
        }

    # Listener, called on the reception thread.

    def records_came(self, runs: set[int]) -> None:
        """Reception stored something for these runs."""
        with self._lock:
            self._records_in |= runs
        self._bell.ring()

    def sessions_changed(self) -> None:
        """A session began, ended or left its connection."""
        self._had_session = True
        self._sessions_news = True
        self._look_now = True
        self._undertaker.poke()
        self._bell.ring()

    def retire_asked(self) -> None:
        """Stop once there is nothing to do."""
        self._retiring = True
        self._look_now = True
        self._bell.ring()

    def _sessions_died(self, runs: set[int]) -> None:
        """Called on the undertaker's thread."""
        self._had_session = True
        self._sessions_news = True
        self._look_now = True
        for run_id in runs:
            self._reception.run_changed(run_id, important=True)
        self.records_came(runs)

    # The main thread.

    def run(self) -> int:
        """Serve until the end."""
        with self._signals_ring(), state_folder.facts_file(self._settings.state_dir, self._identity):
            log.info("serving endpoint=%s state_dir=%s pid=%d", self._settings.endpoint, self._settings.state_dir,
                     os.getpid())  # fmt: skip
            self._checkpointer.start()
            self._reception.start()
            self._undertaker.start()
            self._api.start()
            if self._http is not None:
                self._http.start()
            failed = False
            try:
                failed = self._loop()
            finally:
                if self._http is not None:
                    self._http.close()
                self._api.close()
                self._undertaker.close()
                self.watchdog.close()
                self.sampling.close()
                self._supervisor.close()
                self._reception.close()
                self._checkpointer.close()
                left = self._account()
                self._inbox.close()
                self._selector.close()
                self._bell.close()
        if failed:
            print("telemetryd: reception ended unexpectedly; see the log", file=sys.stderr, flush=True)
            return 1
        self._last_word(left)
        return 0

    def _signals_ring(self) -> contextlib.AbstractContextManager[None]:
        """SIGTERM and SIGINT stop the daemon, SIGCHLD wakes it; all do no more than ring the bell."""

        def stop(signum: int, frame: object) -> None:
            self._signals += 1

        def child_ended(signum: int, frame: object) -> None:
            self._supervisor.child_ended = True
            self._look_now = True

        stops = dict.fromkeys((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), stop)
        return ringing(self._bell.signal_fd, {**stops, signal.SIGCHLD: child_ended})

    def _loop(self) -> bool:
        """Until drained; True when reception ended by itself."""
        next_look_s = 0.0
        while True:
            self._pulse.beat("supervision")
            now_s = time.monotonic()
            wait_s = 0.0 if self._look_now else min(next_look_s - now_s, self._supervisor.next_s(now_s))
            for key, _ in self._selector.select(max(0.0, wait_s)):
                if key.data is None:
                    self._bell.silence()
                elif isinstance(key.data, Sampling):
                    key.data.handle(time.monotonic())
                else:
                    self._supervisor.handle(key.data, time.monotonic())
                    self._look_now = True
            now_s = time.monotonic()
            self._heed_signals(now_s)
            self._tell_service_manager(now_s)
            self._wake_workers(now_s)
            if self._look_now or now_s >= next_look_s:
                self._look_now = False
                next_look_s = now_s + self._tick_s()
                if self._look(now_s):
                    return False
                if not self._reception.alive():
                    return True

    def _tick_s(self) -> float:
        """Until the next look: longer while nothing is under way."""
        may_leave = (self._retiring or self._settings.exit_when_idle) and self._supervisor.settled()
        return TICK_S if self._shutdown.draining or may_leave or not self._supervisor.calm() else CALM_TICK_S

    def _tell_service_manager(self, now_s: float) -> None:
        turned_s = self._reception.turned_s
        if turned_s is None:
            return
        if not self._said_ready:
            self._said_ready = True
            self._service_manager.ready()
        self._service_manager.alive(now_s, turned_s)

    def _wake_workers(self, now_s: float) -> None:
        with self._lock:
            runs, self._records_in = self._records_in, set()
        if not self._supervisor.wake(runs, now_s):
            self._look_now = True
        self._supervisor.wake_due(now_s)

    def _look(self, now_s: float) -> bool:
        """One round of everything that is not urgent; True when the daemon is done."""
        try:
            self._inbox.database.stay_home()
            self._heed_returns()
            self._supervisor.look(now_s, self._shutdown)
            news, self._sessions_news = self._sessions_news, False
            self.watchdog.look(now_s, sessions_changed=news)
            self.sampling.look(now_s, sessions_changed=news)
            self._inbox.database.give_back(INBOX_VACUUM_PAGES)
            if not self._shutdown.draining and self._may_leave(now_s):
                log.info("retiring")
                self._stop(now_s)
        except InboxError as error:
            self._health.set("inbox", State.RECOVERABLE, str(error))
        return self._shutdown.draining and self._supervisor.drained(now_s, self._shutdown)

    def _heed_returns(self) -> None:
        """The inbox's file was removed, perhaps with all the state folder, and put back by one of the threads."""
        new = self._home.returns - self._returns_heeded
        if new:
            self._returns_heeded += new
            self._counters.add("inboxes_put_back", new)
            state_folder.write_facts(self._settings.state_dir, self._identity)
            self._supervisor.folder_lost()

    def _heed_signals(self, now_s: float) -> None:
        while self._signals > self._shutdown.asked:
            self._stop(now_s)

    def _stop(self, now_s: float) -> None:
        again = self._shutdown.draining
        self._shutdown.ask(now_s)
        log.info("stopping again=%s within_s=%.1f", again, self._shutdown.left_s(now_s))
        self._look_now = True
        if again:
            self._supervisor.hurry(now_s, self._shutdown)
        else:
            self._service_manager.stopping()
            self._reception.stop_intake()

    def _may_leave(self, now_s: float) -> bool:
        """Whether the daemon was told to leave when idle, and is."""
        if not (self._retiring or self._settings.exit_when_idle):
            return False
        sessions = self._inbox.progress.count_open_sessions()
        idle = sessions == 0 and not self._api.busy() and self._supervisor.settled() and self._undertaker.rounds > 0
        if not idle:
            self._idle_since_s = None
            return False
        if self._retiring:
            return True
        if self._idle_since_s is None:
            self._idle_since_s = now_s
        patience_s = IDLE_EXIT_AFTER_S if self._had_session else UNUSED_EXIT_AFTER_S
        return now_s - self._idle_since_s >= patience_s

    def _account(self) -> Account | None:
        try:
            return self._inbox.ledger.total()
        except InboxError as error:
            log.error("ledger_unreadable error=%r", str(error))
            return None

    def _last_word(self, left: Account | None) -> None:
        if left is None:
            words = "what is left cannot be counted"
        else:
            words = f"{left.delivered - self._delivered_before} rows delivered, {left.pending} pending"
            if left.pending:
                words += f", kept in {self._settings.state_dir}: the next start delivers them"
        log.info("stopped %s", words)
        print(f"telemetryd: stopped; {words}", file=sys.stderr, flush=True)


def _worker_options(settings: ServeSettings) -> list[str]:
    """What every worker is told.

    `--sampled`: wandb need not sample the machine. `--trust-paths`: over ipc the kernel tells who speaks, and for
    a run of this user's alone its paths are followed (inbox/peers.py).
    """
    options = ["--late", settings.late, "--ranks", settings.ranks, "--spool", str(settings.spool_dir)]
    options += ["--kept-max-bytes", str(settings.artifact_max_bytes)]
    if settings.upload_max_bytes_per_s:
        options += ["--upload-max-bytes-per-s", str(settings.upload_max_bytes_per_s)]
    if settings.sampling != "off":
        options.append("--sampled")
    if (losses := limits_of(settings.health).get("loss_not_finite")) is not None:
        options += ["--losses", str(losses.threshold)]
    is_own_user = settings.endpoint.startswith("ipc:")
    if is_own_user:
        options.append("--trust-paths")
    if settings.run_dirs or not is_own_user:
        options += ["--run-dirs", settings.run_dirs]
    return options


def _set_up_logging(level: str) -> None:
    """One event per line on stderr, unless the program has set up logging already."""
    logging.basicConfig(level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")


def _raise_descriptor_limit() -> None:
    """Each connection takes a descriptor, and the usual soft limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:
        log.info("descriptor_limit_stays limit=%d error=%r", soft, str(error))
