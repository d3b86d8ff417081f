"""Processes in tests: start them, wait for what they do, and end them with everything they started.

Nothing here sleeps for a guess. `wait_until` polls a condition against a deadline and says what it waited for; `spawn`
starts a command in a process group of its own with its output in files, so that no full pipe can stop it; `kill_tree`
ends it and whatever it started. A zombie counts as dead: who reaps an orphan differs between machines.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.01
"""How often a condition is looked at: far below any deadline, and cheap enough for two cores."""

KILL_DEADLINE_S = 10.0
"""The kernel ends a killed process within milliseconds, unless the machine is very busy."""


def wait_until(
    predicate: Callable[[], T], deadline_s: float, what: str | Callable[[], str] = "", poll_s: float = POLL_S
) -> T:
    """The predicate's first true result. Raises AssertionError, saying `what`, when none comes within `deadline_s`."""
    end = time.monotonic() + deadline_s
    while True:
        late = time.monotonic() >= end
        if result := predicate():
            return result
        if late:
            said = what() if callable(what) else what
            raise AssertionError(f"not within {deadline_s:g} s: {said or getattr(predicate, '__name__', predicate)}")
        time.sleep(poll_s)


def state(pid: int) -> str | None:
    """The kernel's letter for a process (R, S, D, T, Z …), None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return text[text.rindex(")") + 2]


def alive(pid: int) -> bool:
    """Whether a process runs or could run again: a zombie does not."""
    return state(pid) not in (None, "Z", "X")


def command_line(pid: int) -> str:
    """A process's command as one string, empty when it cannot be read."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def pids() -> list[int]:
    """Every process there is."""
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]


def parents() -> dict[int, int]:
    """Each process's parent."""
    found = {}
    for pid in pids():
        with contextlib.suppress(OSError, ValueError):
            text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
            found[pid] = int(text[text.rindex(")") + 2 :].split()[1])
    return found


def descendants(root: int) -> set[int]:
    """The processes that a process started, and those that they started."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    left = [root]
    while left:
        for child in children.get(left.pop(), ()):
            if child not in found:
                found.add(child)
                left.append(child)
    return found


def with_environment(entry: str) -> set[int]:
    """Living processes started with `NAME=value` in their environment: finds orphans that `descendants` cannot."""
    wanted = entry.encode()
    found = set()
    for pid in pids():
        with contextlib.suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") and alive(pid):
                found.add(pid)
    return found


def send(pid: int, signum: int) -> bool:
    """Sends a signal; False when the process is gone."""
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return False
    return True


def kill_tree(pid: int, deadline_s: float = KILL_DEADLINE_S) -> None:
    """SIGKILL to a process and all it started, and back only when none of them lives."""
    doomed = {pid} | descendants(pid)
    while fresh := {one for one in doomed if alive(one)}:
        for one in fresh:
            send(one, signal.SIGKILL)
        wait_until(lambda: not any(alive(one) for one in fresh), deadline_s, f"the end of {fresh}")
        doomed = {one for known in doomed for one in descendants(known)} - doomed


class Spawned:
    """A started command. Its output goes to files, read with `out()` and `err()`."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out = out
        self._err = err

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.process.pid

    def out(self) -> str:
        """What it has written to stdout so far."""
        return self._out.read_text(errors="replace")

    def err(self) -> str:
        """What it has written to stderr so far."""
        return self._err.read_text(errors="replace")

    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def wait(self, timeout_s: float) -> int:
        """Its exit code (-n: ended by signal n). Raises AssertionError with its output when it does not end in time."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s:g} s\n{self.told()}") from None

    def wait_out(self, text: str, deadline_s: float) -> None:
        """Returns once `text` stands in stdout. Raises AssertionError at the deadline or if the process ends first."""

        def seen() -> bool:
            return text in self.out() or not self.running()

        wait_until(seen, deadline_s, lambda: f"{text!r} in stdout\n{self.told()}")
        assert text in self.out(), f"ended without saying {text!r}\n{self.told()}"

    def told(self) -> str:
        """Everything it has written, for a failure's message."""
        return (
            f"$ {self.process.args!r}\nexit {self.process.poll()}\n--- stdout\n{self.out()}\n--- stderr\n{self.err()}"
        )

    def stop(self, timeout_s: float = 20.0) -> int:
        """SIGTERM, then its exit code."""
        if self.running():
            self.process.terminate()
        return self.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL to it and to all that it started; reaps it."""
        kill_tree(self.pid)
        self.process.wait(KILL_DEADLINE_S)


def spawn(
    command: Sequence[str | Path], folder: Path, *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Spawned:
    """Starts a command in a process group of its own; stdout and stderr go to fresh files in `folder`.

    `env` is added to this process's environment. The caller ends it: use `running(…)` where a with block will do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob("*.out")))
    out, err = folder / f"{number}.out", folder / f"{number}.err"
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=to_out,
            stderr=to_err,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    return Spawned(process, out, err)


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], folder: Path, *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[Spawned]:
    """A command that runs within the with block and is killed, with all that it started, at its end."""
    spawned = spawn(command, folder, env=env, cwd=cwd)
    try:
        yield spawned
    finally:
        spawned.kill()


def python(*arguments: str | Path) -> list[str]:
    """A command line for the interpreter that runs the tests."""
    return [sys.executable, *(str(argument) for argument in arguments)]
