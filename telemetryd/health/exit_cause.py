"""Why a process ended, from what was seen of it. Pure.

the kernel's own word (wait status)  >  the launcher's exit code  >  what the session said at its end
SIGKILL, or nobody knows, and the control group's count of OOM kills rose, or the kernel's log says so  ──► oom
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

SIGNALLED = 128
"""A shell's exit code of a command that a signal ended is this plus the signal's number."""

OOM, SEGFAULT, SIGNAL, ERROR, CLEAN, UNKNOWN = "oom", "segfault", "signal", "error", "clean", "unknown"


@dataclass(frozen=True)
class Evidence:
    """What is known of a process's end; None where nothing is."""

    status: int | None = None
    """As `wait` gives it."""
    launcher_code: int | None = None
    """Of the launcher: 128 + n stands for signal n."""
    session_code: int | None = None
    """As the interpreter knew it when it exited."""
    oom_kills: int | None = None
    """By how many the control group's count rose."""
    kernel_log: tuple[str, ...] = ()
    """Lines that name the process."""


@dataclass(frozen=True)
class Cause:
    """`kind` is one of the words above; `text` a clause for a person: "was killed by the kernel for want of memory"."""

    kind: str
    text: str
    advice: str = ""
    signal: int | None = None
    exit_code: int | None = None


_ADVICE = {
    signal.SIGSEGV: "an extension module read memory that is not there; PYTHONFAULTHANDLER=1 shows its stack in the"
    " console next time",
    signal.SIGBUS: "often /dev/shm or a mapped file's disk was full: docker run --shm-size",
    signal.SIGABRT: "the last console lines have what a library said before it gave up",
    signal.SIGKILL: "whoever sent it left no trace here: a scheduler at its limit, an OOM killer of another group, a"
    " person",
    signal.SIGTERM: "somebody asked it to end: a scheduler, a preemption, a person",
}
_OOM_ADVICE = "raise the memory limit, or use less: smaller batches, fewer data loader workers"


def cause_of(evidence: Evidence) -> Cause:
    """The likeliest cause."""
    number, code = _ended(evidence)
    killed = any("Killed process" in line for line in evidence.kernel_log)
    if (number in (None, signal.SIGKILL) and killed) or (
        evidence.oom_kills and (number == signal.SIGKILL or (number is None and code is None))
    ):
        where = "its control group" if evidence.oom_kills else "the machine"
        return Cause(OOM, f"was killed by the kernel because {where} was out of memory", _OOM_ADVICE, signal.SIGKILL)
    if number is None and any("segfault at" in line for line in evidence.kernel_log):
        number = signal.SIGSEGV
    if number is not None:
        name = _name(number)
        text = f"was ended by {name}" if number != signal.SIGSEGV else "crashed: segmentation fault (SIGSEGV)"
        kind = SEGFAULT if number == signal.SIGSEGV else SIGNAL
        return Cause(kind, text, _ADVICE.get(signal.Signals(number), "") if name[0] == "S" else "", number)
    if code is None:
        return Cause(UNKNOWN, "is gone, and nobody saw how it ended", "`telemetryd run` in front of it would know")
    if code == 0:
        return Cause(CLEAN, "ended with exit code 0 and without finishing its run", exit_code=0)
    also = ""
    if evidence.oom_kills:
        also = f"; the kernel killed {evidence.oom_kills} other of its control group for want of memory"
    advice = _OOM_ADVICE if also else "the last console lines have the error"
    return Cause(ERROR, f"ended with exit code {code}{also}", advice, exit_code=code)


def _ended(evidence: Evidence) -> tuple[int | None, int | None]:
    """(signal, exit code), as far as anybody knows."""
    if evidence.status is not None:
        if os.WIFSIGNALED(evidence.status):
            return os.WTERMSIG(evidence.status), None
        return None, os.WEXITSTATUS(evidence.status)
    if evidence.session_code is not None:
        return None, evidence.session_code
    code = evidence.launcher_code
    if code is None:
        return None, None
    if SIGNALLED < code < SIGNALLED + signal.NSIG:
        return code - SIGNALLED, None
    return None, code


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
