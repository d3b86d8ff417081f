"""The sampling process as the daemon sees it: started, spoken to through two pipes, ended by closing one of them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from telemetryd.limits import SAMPLER_STOP_S, WORKER_LOG_MAX_BYTES
from telemetryd.sampling import messages
from telemetryd.sampling.limits import PIPE_BYTES

SAMPLER_COMMAND = (sys.executable, "-m", "telemetryd.sampling.main")
_READ_BYTES = 1 << 18
_F_SETPIPE_SZ = 1031


class SamplerProcess:
    """A sampling process that was started. Owned by the daemon's main thread."""

    def __init__(self, command: Sequence[str], periods_s: Mapping[str, float], log_path: Path, now_s: float) -> None:
        """Start it. Raises OSError."""
        self.started_s = self.heard_s = now_s
        self.log_path = log_path
        self._unpacker = messages.Unpacker()
        self._outgoing = bytearray()
        self._orders_open = True
        orders_read, self._orders = os.pipe2(os.O_CLOEXEC)
        self.reports_fd, reports_write = os.pipe2(os.O_CLOEXEC)
        _enlarge(reports_write)
        periods = ",".join(f"{name}={seconds}" for name, seconds in periods_s.items())
        try:
            with _log_file(log_path).open("ab") as output:
                self._popen = subprocess.Popen(
                    [*command, "--orders-fd", str(orders_read), "--reports-fd", str(reports_write),
                     "--periods", periods],
                    stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                    pass_fds=(orders_read, reports_write), start_new_session=True,
                    env={**os.environ, "PYTHONSAFEPATH": "1"},
                )  # fmt: skip
        except BaseException:
            os.close(self._orders)
            os.close(self.reports_fd)
            raise
        finally:
            os.close(orders_read)
            os.close(reports_write)
        os.set_blocking(self._orders, False)
        os.set_blocking(self.reports_fd, False)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._popen.pid

    def send(self, order: messages.Order) -> None:
        """Give an order; what it does not take yet follows at the next `flush`."""
        self._outgoing += messages.pack(order)
        self.flush()

    def flush(self) -> None:
        """Send what is still to be sent."""
        try:
            while self._outgoing and self._orders_open:
                sent = os.write(self._orders, self._outgoing)
                del self._outgoing[:sent]
        except BlockingIOError:
            pass  # it is busy; its orders are few and small
        except BrokenPipeError:
            self._outgoing.clear()  # it is ending; the exit is noticed elsewhere

    def read(self) -> tuple[list[messages.Report], bool]:
        """(what it has reported, whether the pipe is closed). Raises ValueError on bytes that are no report."""
        reports: list[messages.Report] = []
        while True:
            try:
                data = os.read(self.reports_fd, _READ_BYTES)
            except BlockingIOError:
                return reports, False
            if not data:
                return reports, True
            reports += self._unpacker.reports(data)

    def poll(self) -> int | None:
        """The exit code once it has ended (negative: killed by that signal); reaps it. None while it lives."""
        return self._popen.poll()

    def dismiss(self) -> None:
        """Tell it to end."""
        if self._orders_open:
            self._orders_open = False
            os.close(self._orders)

    def kill(self) -> None:
        """SIGKILL. A process that a driver holds in the kernel ends when the driver lets it go."""
        self._popen.kill()

    def wait(self) -> bool:
        """Give it some time to end, then kill it; whether it has ended."""
        for last in (False, True):
            end_s = time.monotonic() + SAMPLER_STOP_S
            while self._popen.poll() is None and time.monotonic() < end_s:
                try:
                    self._popen.wait(end_s - time.monotonic())
                except subprocess.TimeoutExpired:
                    break
            if self._popen.poll() is not None:
                return True
            if not last:
                self.kill()
        return False

    def close(self) -> None:
        """Close the pipes."""
        self.dismiss()
        os.close(self.reports_fd)


def _enlarge(fd: int) -> None:
    """Where the system allows it; else the sampler drops readings sooner while the daemon is stopped."""
    try:
        fcntl.fcntl(fd, _F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        pass


def _log_file(path: Path) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        if path.stat().st_size > WORKER_LOG_MAX_BYTES:
            path.replace(path.with_suffix(".log.1"))
    except FileNotFoundError:
        pass
    return path
