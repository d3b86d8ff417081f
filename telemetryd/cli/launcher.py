"""`telemetryd run`: a training command beside its daemon, from before its start to the delivery of its last row.

    block signals → find or start a daemon → open the console session → start the command
      → forward signals, tee its output, replace our daemon if it dies → the command ends
      → end the console session with its exit code → wait for delivery → summary → retire our daemon

Invariants
* The launcher's exit code is the command's; 128 + n for a signal, 127 and 126 for a command that cannot be started.
* Whatever telemetry cannot do is said once, and costs the command nothing: the client spools until a daemon comes.
* A wrong call or setting is said before anything is started.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from client.console import capture
from client.console.scribe import Scribe
from client.console.streams import Stream, fill_standard_descriptors
from client.console.tee import Tee
from client.console.transcript import Transcript
from telemetryd.cli import asking, drain, exit_codes, extras, options, signals, summary
from telemetryd.cli.command import Command, CommandNotStartedError, reap_orphans
from telemetryd.cli.console import Console
from telemetryd.cli.limits import RETIRE_TIMEOUT_S
from telemetryd.cli.say import painted, say
from telemetryd.cli.sidecar import Interrupted, Sidecar, SidecarError
from telemetryd.cli.signals import Received, Signals
from telemetryd.errors import PlaceError
from telemetryd.settings import DaemonSettings, Loaded, folders


def run(arguments: argparse.Namespace) -> int:
    """The exit code of `telemetryd run`. Raises SettingsError or MissingExtraError before anything is started."""
    loaded = options.loaded(arguments)
    if extras.missing() and not asking.listening(loaded.settings.endpoint):
        extras.require_daemon("run")  # to start one; a container beside a daemon does without, though that be stuck
    fill_standard_descriptors()
    received = Signals()
    try:
        return Launch(loaded, received).run(arguments.command_line)
    except Interrupted as interrupted:
        return exit_codes.SIGNALLED + interrupted.signum
    finally:
        received.restore()


class Launch:
    """One command and what is done around it."""

    def __init__(self, loaded: Loaded, received: Signals) -> None:
        self.launch = os.urandom(16).hex()
        self.settings = loaded.settings
        self.sidecar = Sidecar(loaded.settings)
        self._loaded = loaded
        self._signals = received
        self._answering = False
        self._interrupted = False  # while it waits for delivery

    def run(self, command_line: list[str]) -> int:
        """Everything, from finding a daemon to retiring it. Raises Interrupted before the command is started."""
        patience_s = RETIRE_TIMEOUT_S
        try:
            self._find_daemon()
            spool_dir = self._spool_dir()
            console = Console.open(self.launch, self.settings.endpoint, spool_dir, wait=self._answering)
            code = self._run_command(command_line, spool_dir, console)
            outcome = self._drain(console, code, spool_dir)
            if outcome is not None:
                summary.tell(outcome, self.sidecar, spool_dir)
                patience_s = RETIRE_TIMEOUT_S if outcome.why == "settled" else 0.0
            return code
        finally:
            self.sidecar.retire(self._signals.told_to_leave, patience_s)
            self.sidecar.detach()

    def _find_daemon(self) -> None:
        try:
            self.sidecar.join(self._signals.told_to_leave)
        except SidecarError as error:
            say(painted("no daemon:", "yellow") + f" {error}")
            say(f"the command runs all the same; {self._where_rows_wait()}.")
            return
        self._answering = True
        theirs = self.sidecar.facts.get("state_dir")
        if "state_dir" in self._loaded.sources and theirs and Path(theirs) != self.settings.state_dir:
            say(
                f"the daemon at {self.settings.endpoint} keeps its state in {theirs}, not in {self.settings.state_dir}:"
                " choose another --endpoint to start one there."
            )

    def _where_rows_wait(self) -> str:
        spool_dir = self.settings.spool_dir
        try:
            folders.usable(spool_dir, "spool directory", "--spool-dir or TELEMETRYD_SPOOL_DIR")
        except PlaceError:
            return f"what it logs is kept in memory alone and lost at its end, for {spool_dir} cannot be written"
        return f"what it logs is kept in {spool_dir} until a daemon comes"

    def _spool_dir(self) -> Path:
        """Where the command's journals go: as set, else where the daemon that answers looks for those of the dead."""
        theirs = self.sidecar.facts.get("spool_dir")
        if theirs and "spool_dir" not in self._loaded.sources and os.access(theirs, os.W_OK | os.X_OK):
            return Path(theirs)
        return self.settings.spool_dir

    def _run_command(self, command_line: list[str], spool_dir: Path, console: Console) -> int:
        if signum := self._signals.told_to_leave(0.0):
            console.end(exit_codes.SIGNALLED + signum, 0.0, lambda: False)
            raise Interrupted(signum)
        streams = [Stream.open(descriptor) for descriptor in (1, 2)]
        scribe = Scribe(console.output)
        transcript = Transcript(scribe.write, "launcher")
        tees = [Tee(stream, transcript, "launcher") for stream in streams]
        environ = command_environment(os.environ, self.launch, self.settings, spool_dir)
        environ[capture.VARIABLE] = ",".join(filter(None, (capture.file_of(stream.inner) for stream in streams)))
        try:
            command = Command.start(command_line, environ, streams, self._signals.inherited)
        except CommandNotStartedError as error:
            say(str(error))
            command = None
            code = error.exit_code
        for stream in streams:
            stream.close_inner()
        for tee in tees:
            tee.start()
        if command is not None:
            code = self._wait(command, streams)
        for tee in tees:
            tee.finish()
        scribe.close()
        return code

    def _wait(self, command: Command, streams: list[Stream]) -> int:
        """Forward signals until the command has ended; its exit code."""
        while (code := command.poll()) is None:
            patience_s = self.sidecar.look_after()
            reap_orphans({command.pid, self.sidecar.pid})
            received = self._signals.wait(patience_s)
            if received is not None:
                pass_on(received, command, streams)
        return code

    def _drain(self, console: Console, code: int, spool_dir: Path) -> drain.Outcome | None:
        """Hand over what the console has and wait for delivery; None where no daemon was there from the beginning."""
        if not self._answering:
            console.end(code, 0.0, lambda: False)
            return None
        start_s, timeout_s = time.monotonic(), self.settings.drain_timeout_s
        reachable = self._reachable()
        console.end(code, timeout_s if reachable else 0.0, self._reachable)
        if not reachable:
            return drain.Outcome("interrupted" if self._interrupted else "unanswered")
        left_s = 0.0 if self._interrupted else max(0.0, timeout_s - (time.monotonic() - start_s))
        outcome = drain.drain(self.sidecar, self.launch, spool_dir, left_s, self._signals.told_to_leave)
        if self._interrupted and outcome.why == "late":
            outcome.why = "interrupted"
        return outcome

    def _reachable(self) -> bool:
        """Whether it makes sense to wait for a daemon: one is there, and nobody told the launcher to leave."""
        try:
            self._interrupted |= self._signals.told_to_leave(0.0) is not None
            return not self._interrupted and not self.sidecar.is_gone(self._signals.told_to_leave)
        except Interrupted:
            self._interrupted = True
            return False


def pass_on(received: Received, command: Command, streams: list[Stream]) -> None:
    """Give the command a signal that it has not got by itself, and its terminals a new window size."""
    if received.signum in signals.FORWARDED and not signals.reached_already(received, command.pid):
        command.send(received.signum)
    elif received.signum == signal.SIGWINCH:
        for stream in streams:
            stream.resize()
        command.send(signal.SIGWINCH)  # it may have looked before the size was there


def command_environment(
    environ: Mapping[str, str], launch: str, settings: DaemonSettings, spool_dir: Path
) -> dict[str, str]:
    """The command's environment: the launcher's own, and where its telemetry goes."""
    return {
        **environ,
        "TELEMETRYD_LAUNCH": launch,
        "TELEMETRYD_ENDPOINT": settings.endpoint,
        "TELEMETRYD_STATE_DIR": str(settings.state_dir),
        "TELEMETRYD_SPOOL_DIR": str(spool_dir),
    }
