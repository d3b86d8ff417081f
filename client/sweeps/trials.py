"""One trial: a function on a thread of this process, as `wandb.agent(function)` runs it, or a command in a process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping

from client import api
from client.exit_hooks import hooks


class FunctionTrial:
    """A function, run on a thread. What is stopped gets a KeyboardInterrupt, as from W&B's stop button."""

    def __init__(self, function: Callable[[], object], environ: Mapping[str, str]) -> None:
        self._function = function
        self._environ = environ
        self._failure: str | None = None
        self._lock = threading.Lock()
        self._interruptible = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweep-trial", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with _environment(self._environ):
                api.finish_all()  # a run that is active would be taken for the trial's
                code = 1
                try:
                    self._interruptible = True
                    self._function()
                    code = 0
                except SystemExit as leaving:
                    code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
                    self._failure = f"it exited with {leaving.code}" if code else None
                except BaseException as error:  # noqa: BLE001 - a trial's failure is told, and never the agent's
                    traceback.print_exc()
                    self._failure = repr(error)
                self._end_interrupts()
                hooks.exit_code = 0  # of `sys.exit` in the function: it was the trial's, and is not the process's
                api.finish_all(code)
        finally:
            self._ended.set()

    def _end_interrupts(self) -> None:
        """From here on a stop comes too late, and one on its way is no more than that."""
        while self._interruptible:
            try:
                with self._lock:
                    self._interruptible = False
            except KeyboardInterrupt:
                continue

    def wait(self, timeout_s: float) -> bool:
        """See Trial."""
        if not self._ended.wait(timeout_s):
            return False
        self._thread.join()
        return True

    def stop(self) -> None:
        """See Trial. Takes effect when Python code runs on the thread next, as in wandb."""
        with self._lock:
            number = self._thread.ident
            if self._interruptible and number is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(number), ctypes.py_object(KeyboardInterrupt))

    def kill(self) -> None:
        """See Trial: a thread cannot be ended, so it is told again."""
        self.stop()

    def failure(self) -> str | None:
        """See Trial."""
        return self._failure


@contextlib.contextmanager
def _environment(told: Mapping[str, str]) -> Iterator[None]:
    """os.environ with these; what stood there before, afterwards."""
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class ProcessTrial:
    """A command in a process group of its own: the terminal's ^C is the agent's to pass on."""

    def __init__(
        self, command_line: list[str], environ: Mapping[str, str], stop_signal: signal.Signals = signal.SIGINT
    ) -> None:
        """Raises OSError where it cannot be started."""
        self._stop_signal = stop_signal
        self._process = subprocess.Popen(
            command_line, env=dict(environ), stdin=subprocess.DEVNULL, start_new_session=True
        )

    def wait(self, timeout_s: float) -> bool:
        """See Trial."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """See Trial."""
        self._process.send_signal(self._stop_signal)

    def kill(self) -> None:
        """See Trial: the whole process group."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def failure(self) -> str | None:
        """See Trial. A process that a signal ended counts as failed, unless it was stopped."""
        code = self._process.returncode
        return None if code == 0 else f"its command ended with {code}"
