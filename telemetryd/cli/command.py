"""The command that a launcher runs: started with posix_spawn, which runs no code of ours between fork and exec and so
may be called beside other threads, and reaped by nobody else, so that its number stays its own until then.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Collection, Iterable, Mapping, Sequence

from client.console.streams import Stream
from telemetryd.cli import exit_codes
from telemetryd.errors import TelemetrydError

_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)
"""Python ignores these for itself; a command expects the system's own behaviour."""


class CommandNotStartedError(TelemetrydError):
    """There is no such command or it cannot be executed; `exit_code` is what a shell exits with then."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Command:
    """A running command, a child of this process in its process group."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exit_code: int | None = None

    @classmethod
    def start(
        cls,
        command_line: Sequence[str],
        environ: Mapping[str, str],
        streams: Iterable[Stream],
        mask: Iterable[int],
    ) -> Command:
        """Start it with its output into `streams` and `mask` as its signal mask. Raises CommandNotStartedError."""
        actions = [(os.POSIX_SPAWN_DUP2, stream.inner, stream.shown) for stream in streams]
        try:
            pid = os.posix_spawnp(
                command_line[0],
                list(command_line),
                environ,
                file_actions=actions,
                setsigmask=list(mask),
                setsigdef=list(_PYTHON_IGNORES),
            )
        except (OSError, ValueError) as error:
            raise _not_started(command_line[0], error) from None
        return cls(pid)

    def poll(self) -> int | None:
        """Its exit code (128 + n for signal n) once it has ended; it is reaped then."""
        if self.exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.exit_code = code if code >= 0 else exit_codes.SIGNALLED - code
        return self.exit_code

    def send(self, signum: int) -> None:
        """Send it a signal. It is not reaped yet, so the number is its own."""
        if self.exit_code is None:
            os.kill(self.pid, signum)


def reap_orphans(own: Collection[int]) -> None:
    """As a container's first process, reap what the command left behind; `own` children are reaped by who waits for
    them."""
    while os.getpid() == 1:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in own:
            return
        os.waitpid(ended.si_pid, os.WNOHANG)


def _not_started(name: str, error: OSError | ValueError) -> CommandNotStartedError:
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOENT, errno.ENOTDIR):
        where = "" if "/" in name else " on PATH"
        interpreter = " (or its interpreter)" if os.path.exists(name) else ""  # noqa: PTH110
        return CommandNotStartedError(f"{name}: command{interpreter} not found{where}", exit_codes.NOT_FOUND)
    reason = {
        errno.EACCES: "not executable (chmod +x it, or name its interpreter first)",
        errno.ENOEXEC: "no program that this machine runs; name its interpreter first, as in: python train.py",
        errno.E2BIG: "its arguments and environment are larger than the system allows",
    }.get(number or 0, str(error))
    return CommandNotStartedError(f"{name}: {reason}", exit_codes.NOT_EXECUTABLE)
