"""The stacks of training processes by py-spy, where it is installed: a program that reads another process's memory.

It is asked not to pause the process: one that hangs stands still anyway, and one that does not is not to be held up.
Never waits: started, and looked at until it has ended.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from telemetryd.limits import STACKS_MAX_BYTES, STACKS_PROCESSES_MAX, STACKS_TIMEOUT_S

NOT_INSTALLED = "py-spy is not installed beside the daemon: pip install py-spy"
NOT_ALLOWED = (
    "py-spy may not read this process: give the daemon's container CAP_SYS_PTRACE, run the daemon as root, or set"
    " kernel.yama.ptrace_scope=0"
)


def find_py_spy() -> str | None:
    """Its path: beside this interpreter, else on PATH."""
    beside = str(Path(sys.executable).parent)
    return shutil.which("py-spy", path=os.pathsep.join([beside, os.environ.get("PATH", os.defpath)]))


class Stacks:
    """One look at the stacks of several processes, one process after another."""

    def __init__(self, processes: Sequence[tuple[str, int]], now_s: float, program: str | None = None) -> None:
        """`processes` are (a name for it, its number)."""
        self._program = program or find_py_spy()
        self._waiting = list(processes[:STACKS_PROCESSES_MAX])
        self._parts: list[str] = []
        self._deadline_s = now_s + STACKS_TIMEOUT_S
        self._popen: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._name = ""
        self._taken = 0
        self._first = processes[0][1] if processes else 0
        self.missing = ""
        """Why there are no stacks, or not of all processes."""
        if self._program is None:
            self.missing, self._waiting = NOT_INSTALLED, []

    @property
    def pids(self) -> list[int]:
        """py-spy's process, while it runs: ours to reap."""
        return [self._popen.pid] if self._popen is not None else []

    def done(self, now_s: float) -> bool:
        """Whether it is over; goes on with the next process."""
        if self._popen is not None:
            late = now_s >= self._deadline_s
            if late:
                self._popen.kill()
            if self._popen.poll() is None:
                return False
            self._collect("py-spy took too long" if late else "")
        if self._waiting and now_s < self._deadline_s:
            self._start(*self._waiting.pop(0))
            return self._popen is None and not self._waiting
        return True

    @property
    def taken(self) -> bool:
        """Whether there are stacks of one process at least."""
        return self._taken > 0

    def place(self) -> str:
        """Where the first process's main thread is: "two (train.py:10)"; empty where that is not known."""
        lines = self.text().splitlines()
        main = (f"Thread {self._first} ", "MainThread")  # a program without threads names none
        heads = [number for number, line in enumerate(lines) if line.startswith("Thread")]
        at = next((number for number in heads if any(word in lines[number] for word in main)), len(lines))
        return next((line.strip() for line in lines[at + 1 :] if line.startswith(" ")), "")

    def text(self) -> str:
        """The stacks, or why there are none."""
        return "\n".join(self._parts)[:STACKS_MAX_BYTES] or self.missing

    def _start(self, name: str, pid: int) -> None:
        assert self._program is not None
        self._name, self._output = name, tempfile.TemporaryFile()  # noqa: SIM115 - closed when it was read
        try:
            self._popen = subprocess.Popen(
                [self._program, "dump", "--nonblocking", "--pid", str(pid)],
                stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._output.close()
            self._output, self.missing = None, f"py-spy cannot be started: {error.strerror}"

    def _collect(self, trouble: str) -> None:
        assert self._popen is not None
        assert self._output is not None
        failed = self._popen.returncode != 0
        self._output.seek(0)
        text = self._output.read(STACKS_MAX_BYTES).decode("utf-8", "replace")
        self._output.close()
        self._popen = self._output = None
        if failed:
            denied = any(word in text.lower() for word in ("permission", "operation not permitted", "eperm"))
            trouble = trouble or (NOT_ALLOWED if denied else f"py-spy failed: {text.strip()[-500:]}")
            self.missing = text = trouble
        else:
            self._taken += 1
        self._parts.append(f"--- {self._name}\n{text}")

    def close(self) -> None:
        """End it."""
        if self._popen is not None:
            with contextlib.suppress(ProcessLookupError):
                self._popen.kill()
            self._popen.wait()
        if self._output is not None:
            self._output.close()
        self._popen = self._output = None
