"""One run worker as a process: started in a session of its own, spoken to through two pipes, killed with its group."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from telemetryd.limits import SAMPLE_BACKLOG_BYTES, WORKER_LOG_MAX_BYTES
from telemetryd.runs import control, predecessor
from telemetryd.supervision import leftovers
from telemetryd.supervision.leftovers import Process

log = logging.getLogger(__name__)

WORKER_COMMAND = (sys.executable, "-m", "telemetryd.runs.worker_main")
_READ_BYTES = 1 << 18
_NOT_FOR_WORKERS = ("WANDB_SERVICE", "TELEMETRYD_LAUNCH", "TELEMETRYD_RUN_ID")


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The daemon's environment without what would tie a worker to somebody else's wandb or launch."""
    kept = {name: value for name, value in environ.items() if name not in _NOT_FOR_WORKERS}
    kept["PYTHONSAFEPATH"] = "1"  # a file named like a module in the working directory must not shadow it
    return kept


class WorkerProcess:
    """A worker that was started. Owned by the supervisor's thread."""

    def __init__(self, command: Sequence[str], run_id: int, inbox_path: Path, folder: Path, now_s: float) -> None:
        """Start it, with its log in `folder`. Raises OSError."""
        self.run_id = run_id
        self.started_s = now_s
        self.log_path = folder / f"{run_id}.log"
        self._lock_path = folder / f"{run_id}.lock"
        self.core: Process | None = None
        self._unpacker = control.Unpacker()
        self._outgoing = bytearray()
        self._broken = False
        orders_read, self._orders = os.pipe2(os.O_CLOEXEC)
        self.reports_fd, reports_write = os.pipe2(os.O_CLOEXEC)
        try:
            self._popen = self._spawn(command, inbox_path, folder, orders_read, reports_write)
        except BaseException:
            os.close(self._orders)
            os.close(self.reports_fd)
            raise
        finally:
            os.close(orders_read)
            os.close(reports_write)
        os.set_blocking(self._orders, False)
        os.set_blocking(self.reports_fd, False)
        self.process = leftovers.identify(self._popen.pid) or Process(self._popen.pid, 0)

    def _spawn(
        self, command: Sequence[str], inbox_path: Path, folder: Path, orders_fd: int, reports_fd: int
    ) -> subprocess.Popen[bytes]:
        _rotate(self.log_path)
        arguments = ["--inbox", str(inbox_path), "--run", str(self.run_id)]
        pipes = ["--orders-fd", str(orders_fd), "--reports-fd", str(reports_fd)]
        with self.log_path.open("ab") as output:
            return subprocess.Popen(
                [*command, *arguments, *pipes],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(orders_fd, reports_fd),
                start_new_session=True,
                cwd=folder,
                env=worker_environment(os.environ),
            )

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._popen.pid

    def send(self, order: control.Order) -> None:
        """Give an order. Never blocks: what a stopped worker does not read is kept, and sent at the next `flush`."""
        if isinstance(order, control.Wake) and self._outgoing:
            return  # it has orders to read, and wakes at the first
        self._outgoing += control.pack(order)
        self.flush()

    def give_samples(self, samples: control.Samples) -> bool:
        """Pass samples on; False, and nothing is kept, when it has not read its orders for a while."""
        if len(self._outgoing) > SAMPLE_BACKLOG_BYTES:
            return False
        self._outgoing += control.pack(samples)
        self.flush()
        return True

    def flush(self) -> None:
        """Send what is still to be sent."""
        try:
            while self._outgoing and not self._broken:
                sent = os.write(self._orders, self._outgoing)
                del self._outgoing[:sent]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._broken = True  # it is ending; the exit is noticed elsewhere

    def read(self) -> tuple[list[control.Report], bool]:
        """(the reports that have come, whether the pipe is closed). Raises ValueError on bytes that are none."""
        reports: list[control.Report] = []
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

    def kill(self) -> None:
        """SIGKILL it with its group, and the wandb-core that it told of. It must not have been reaped before."""
        if self._popen.returncode is None:
            try:
                os.killpg(self._popen.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.kill_company()

    def kill_company(self) -> None:
        """Kill what is left of the group after the worker itself ended, and its wandb-core."""
        if self._popen.returncode is not None:
            try:
                os.killpg(self._popen.pid, signal.SIGKILL)  # a group keeps its number while it has a member
            except (ProcessLookupError, PermissionError):
                pass
        if self.core is not None:
            leftovers.kill(self.core, group=True)

    def wait(self) -> None:
        """Reap it after `kill`."""
        self._popen.wait()

    def close(self) -> None:
        """Close the pipes of a worker that has been reaped, and remove what it left behind."""
        os.close(self._orders)
        os.close(self.reports_fd)
        predecessor.remove_files_of(self._lock_path, self.pid)


def _rotate(path: Path) -> None:
    try:
        if path.stat().st_size > WORKER_LOG_MAX_BYTES:
            path.replace(path.with_suffix(".log.1"))
    except FileNotFoundError:
        pass
