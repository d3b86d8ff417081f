"""The daemon that a launch uses: one that answers already, or one of the launcher's own.

    absent ──start──► starting ──ping answers──► answering ──retire──► gone
       ▲                  │                         │
       └──── died ◄───────┴──────── died ◄──────────┘

The own daemon runs in a session of its own, so that neither ^C nor the end of the launcher ends it; its output goes to
`daemon.log` in the state folder. It leaves when idle, so that it does not outlive a launcher that was killed. What was
found is never stopped, and replaced only when it is gone at the time of delivery.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from telemetryd.cli import asking, exit_codes
from telemetryd.cli.asking import NoAnswerError, Presence
from telemetryd.cli.limits import (
    ASK_TIMEOUT_S,
    DAEMON_GIVE_UP_S,
    DAEMON_LOG_MAX_BYTES,
    DAEMON_LOG_TAIL_LINES,
    DAEMON_RESTART_DELAY_S,
    DAEMON_RESTARTS,
    DAEMON_START_POLL_S,
    DAEMON_START_TIMEOUT_S,
)
from telemetryd.errors import PlaceError, TelemetrydError
from telemetryd.settings import DaemonSettings, folders
from telemetryd.settings.fields import FIELDS

Pause = Callable[[float], int | None]
"""Waits for seconds; returns early with a signal's number when the launcher is told to leave."""


class SidecarError(TelemetrydError):
    """No daemon answers and none could be started; the message says why."""


class Interrupted(TelemetrydError):
    """The launcher was told to leave while it waited."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by signal {signum}")
        self.signum = signum


class Sidecar:
    """See the module's head. `facts` is the newest answer to a ping, empty while there was none."""

    def __init__(self, settings: DaemonSettings) -> None:
        self.settings = settings
        self.facts: dict[str, Any] = {}
        self.log_path = settings.state_dir / "daemon.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._restarts_left = DAEMON_RESTARTS
        self._restart_delay_s = DAEMON_RESTART_DELAY_S
        self._restart_at_s: float | None = None
        self._log_start = 0
        self._answered = False  # the process that was started last

    @property
    def pid(self) -> int:
        """The process that was started here last; 0 when none was."""
        return 0 if self._process is None else self._process.pid

    def join(self, pause: Pause) -> None:
        """Find a daemon, or start one and wait until it answers. Raises SidecarError or Interrupted."""
        presence, self.facts = asking.look(self.settings.endpoint)
        if presence is Presence.ABSENT:
            self._start()
            self._wait_answering(pause)
        elif presence is Presence.SILENT:
            raise SidecarError(
                f"something listens at {self.settings.endpoint} and does not answer (a daemon that is stopped or stuck?"
                " `telemetryd doctor` looks)"
            )

    def _start(self) -> None:
        try:
            folders.prepare(self.settings)
            log = self._open_log()
        except (PlaceError, OSError) as error:
            raise SidecarError(str(error)) from None
        self._answered = False
        with contextlib.closing(os.fdopen(log, "ab")) as output:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "telemetryd",
                    "serve",
                    *serve_flags(private(self.settings)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=daemon_environment(os.environ),
                cwd=self.settings.state_dir,  # with -m the working folder is on sys.path; a job's own may shadow ours
                start_new_session=True,
            )

    def _open_log(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            if self.log_path.stat().st_size > DAEMON_LOG_MAX_BYTES:
                self.log_path.rename(self.log_path.with_name("daemon.log.1"))
        descriptor = os.open(self.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._log_start = os.fstat(descriptor).st_size
        return descriptor

    def _wait_answering(self, pause: Pause) -> None:
        assert self._process is not None
        end_s = time.monotonic() + DAEMON_START_TIMEOUT_S
        while time.monotonic() < end_s:
            code = self._process.poll()  # before the ping: another launcher's daemon may answer instead of ours
            if answer := asking.ping(self.settings.endpoint, DAEMON_START_POLL_S * 10):
                self.facts = answer
                self._answered = True
                return
            if code is not None and code != exit_codes.ALREADY_SERVING:
                raise SidecarError(f"the daemon ended at its start with exit code {code}{self._log_tail()}")
            if signum := pause(DAEMON_START_POLL_S):
                raise Interrupted(signum)
        raise SidecarError(f"the daemon did not answer within {DAEMON_START_TIMEOUT_S:g} s{self._log_tail()}")

    def _log_tail(self) -> str:
        try:
            with self.log_path.open("rb") as log:
                log.seek(self._log_start)
                lines = log.read().decode(errors="replace").strip().splitlines()
        except OSError as error:
            return f" (its log {self.log_path} cannot be read: {error.strerror})"
        if not lines:
            return f" (its log {self.log_path} is empty)"
        tail = "\n".join(f"    {line}" for line in lines[-DAEMON_LOG_TAIL_LINES:])
        return f"; its log {self.log_path} says\n{tail}"

    def look_after(self) -> float:
        """Start the own daemon again when it has died, after a pause; call when a child has ended, or the returned
        number of seconds has passed (infinite: nothing is planned). Never waits, and gives up after some attempts."""
        if self._process is None or self._process.poll() is None or not self._restarts_left:
            return float("inf")
        now_s = time.monotonic()
        if self._restart_at_s is None:
            self._restart_at_s = now_s + self._restart_delay_s
        if now_s >= self._restart_at_s:
            self._restart_at_s = None
            self._restarts_left -= 1
            self._restart_delay_s *= 2
            if not asking.listening(self.settings.endpoint):
                with contextlib.suppress(SidecarError):
                    self._start()
            return self._restart_delay_s
        return self._restart_at_s - now_s

    def revive(self, pause: Pause) -> bool:
        """Whether a daemon answers, after starting one if the one that was there is gone. Raises Interrupted."""
        if asking.ping(self.settings.endpoint):
            self._answered = True
            return True
        if self._process is None and not self._may_replace():
            return False
        try:
            if self._process is None or self._process.poll() is not None or not self._answers_yet(pause):
                self.join(pause)
        except SidecarError:
            return False
        return True

    def _answers_yet(self, pause: Pause) -> bool:
        """Wait for the own daemon, which lives but does not answer; False when it ends instead, since it may have been
        dying already. Raises SidecarError when it lives on and says nothing, and Interrupted."""
        assert self._process is not None
        try:
            self._wait_answering(pause)
        except SidecarError:
            if self._process.poll() is None:
                raise
            return False
        return True

    def _may_replace(self) -> bool:
        """Whether an own daemon would find what the one that was found here has kept: it has the same state folder.
        That one may have been another launcher's, which retires it as soon as it is not used."""
        return self.facts.get("state_dir") == str(self.settings.state_dir)

    def is_gone(self, pause: Pause) -> bool:
        """Whether no daemon is there and none can be started; one that is only silent may be busy. Raises
        Interrupted."""
        return not asking.listening(self.settings.endpoint) and not self.revive(pause)

    def retire(self, pause: Pause, timeout_s: float) -> bool:
        """Tell the own daemon to end when nobody needs it, and give it `timeout_s`; whether it has ended by then."""
        if self._process is None or self._process.poll() is not None:
            return True
        try:
            used = asking.ask(self.settings.endpoint, "status", ASK_TIMEOUT_S).get("sessions")
            asking.ask(self.settings.endpoint, "retire", ASK_TIMEOUT_S)
            if used:
                return False  # it ends after those who use it now
        except NoAnswerError:
            if not self._answered:
                return self._give_up()
        end_s = time.monotonic() + timeout_s
        while self._process.poll() is None:
            if time.monotonic() >= end_s or pause(min(DAEMON_START_POLL_S, timeout_s)):
                return False
        return True

    def _give_up(self) -> bool:
        """End a daemon that never came up: it has taken nothing that could be lost."""
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(DAEMON_GIVE_UP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return True

    def detach(self) -> None:
        """Leave a daemon that lives on to itself."""
        if self._process is not None and self._process.poll() is None:
            self._process.returncode = 0  # or the interpreter warns that the process is still running


def private(settings: DaemonSettings) -> DaemonSettings:
    """The settings of a daemon of one's own: it leaves when idle, and leaves the HTTP port that operators look at to
    the machine's daemon, unless it was given one."""
    return replace(settings, exit_when_idle=True, http="off" if settings.http == "auto" else settings.http)


def serve_flags(settings: DaemonSettings) -> list[str]:
    """The settings as flags of `telemetryd serve`: flags win, so nothing that the daemon reads by itself counts."""
    flags = ["--config", os.devnull]
    for field in FIELDS:
        value = getattr(settings, field.name)
        if field.metavar is not None:
            flags += [field.flag, str(value)]
        elif value:
            flags.append(field.flag)
    return flags


def daemon_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The daemon's environment: the launcher's, without what names a run or a launch, and with absolute paths."""
    kept = {name: value for name, value in environ.items() if name not in ("TELEMETRYD_LAUNCH", "TELEMETRYD_RUN_ID")}
    kept.pop("TELEMETRYD_EXIT_WHEN_IDLE", None)
    if paths := kept.get("PYTHONPATH"):
        kept["PYTHONPATH"] = os.pathsep.join(str(Path(part).absolute()) for part in paths.split(os.pathsep) if part)
    return kept
