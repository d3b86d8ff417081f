"""What a logging call may not do, counted instead of timed: times differ between machines, system calls do not.

The kernel's view (strace) and Python's own (audit events) of the thread that logs, between two marks. Left out are the
calls that the interpreter makes for any code with a second thread: futexes of the GIL, and memory for its allocator.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.processes import python, running, spawn
from tests.support.requirements import require

CALLS = 10_000

INTERPRETER = {
    "futex",
    "brk",
    "munmap",
    "mremap",
    "madvise",
    "clock_gettime",
    "sched_yield",
    "restart_syscall",
    "gettid",
}
"""The GIL's waiting and the allocator's memory. An anonymous mmap is the allocator's too, and is told by its flags."""

INTROSPECTION = {"object.__getattr__", "sys._getframe"}
"""Audit events of looking at an object, which reach nothing outside the process."""

TRAINING = """
import json, os, sys, threading
import client

CALLS = int(sys.argv[1])
run = client.init(project="hot-path", mode="offline")
rows = [{f"metric_{column}": float(row * column) for column in range(10)} for row in range(CALLS)]
for row in rows[:1000]:
    run.log(row)

events = []
watching = False
logger = threading.get_ident()

def audit(event, arguments):
    if watching and threading.get_ident() == logger:
        events.append(event)

sys.addaudithook(audit)
log = run.log
os.write(2, b"MARK begin\\n")
watching = True
for row in rows:
    log(row)
watching = False
os.write(2, b"MARK end\\n")
report = run.finish(timeout_s=float(sys.argv[2]))
print(json.dumps({"events": events, "offered": report.offered, "dropped": sum(report.dropped.values())}))
"""


def traced(folder: Path, finish_timeout_s: float = 60.0) -> tuple[Counter[str], dict[str, object]]:
    """System calls of the logging thread between the marks, and what the training process said of itself."""
    strace = shutil.which("strace")
    require(strace, "strace is not installed: apt-get install strace")
    trace = folder / "trace"
    command = [strace or "", "-f", "-qq", "-o", trace, *python("-c", TRAINING, str(CALLS), str(finish_timeout_s))]
    spawned = spawn(command, folder)
    try:
        assert spawned.wait(100) == 0, spawned.told()
    finally:
        spawned.kill()
    return between_the_marks(trace.read_text(errors="replace")), json.loads(spawned.out().splitlines()[-1])


def between_the_marks(trace: str) -> Counter[str]:
    """Calls by name of the thread that wrote the marks. A call that strace shows in two halves is counted once."""
    lines = trace.splitlines()
    first = next(number for number, line in enumerate(lines) if "MARK begin" in line)
    last = next(number for number, line in enumerate(lines) if "MARK end" in line)
    thread = lines[first].split()[0]
    found: Counter[str] = Counter()
    for line in lines[first + 1 : last]:
        tid, said = line.split(None, 1)
        if tid == thread and (match := re.match(r"(\w+)\(", said)):
            anonymous = match[1] == "mmap" and "MAP_ANONYMOUS" in said
            found["mmap anonymous" if anonymous else match[1]] += 1
    return found


def test_a_logging_call_makes_no_system_call(daemon: Daemon, tmp_path: Path) -> None:
    calls, said = traced(tmp_path)
    forbidden = {name: count for name, count in calls.items() if name not in INTERPRETER | {"mmap anonymous"}}
    assert forbidden == {}
    assert said["offered"] == CALLS + 1000
    assert said["dropped"] == 0


def test_a_logging_call_makes_no_system_call_while_no_daemon_answers(tmp_path: Path) -> None:
    calls, said = traced(tmp_path, finish_timeout_s=0.5)
    forbidden = {name: count for name, count in calls.items() if name not in INTERPRETER | {"mmap anonymous"}}
    assert forbidden == {}
    assert said["offered"] == CALLS + 1000


def test_a_logging_call_makes_no_system_call_while_the_daemon_is_stopped(daemon: Daemon, tmp_path: Path) -> None:
    daemon.pause()
    try:
        calls, said = traced(tmp_path, finish_timeout_s=0.5)
    finally:
        daemon.resume()
    forbidden = {name: count for name, count in calls.items() if name not in INTERPRETER | {"mmap anonymous"}}
    assert forbidden == {}
    assert said["offered"] == CALLS + 1000


def test_a_logging_call_opens_sends_imports_and_starts_nothing(daemon: Daemon, tmp_path: Path) -> None:
    with running(python("-c", TRAINING, str(CALLS), "60"), tmp_path) as training:
        assert training.wait(60) == 0, training.told()
        events = set(json.loads(training.out().splitlines()[-1])["events"])
    assert events - INTROSPECTION == set()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("7  write(9, ...) = 1", {"write": 1}),
        ("8  write(9, ...) = 1", {}),
        ("7  mmap(NULL, 4096, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f", {"mmap anonymous": 1}),
        ("7  mmap(NULL, 4096, PROT_READ, MAP_SHARED, 5, 0) = 0x7f", {"mmap": 1}),
        ("7  poll([{fd=3}], 1, -1 <unfinished ...>\n7  <... poll resumed>) = 1", {"poll": 1}),
    ],
)
def test_the_counting_sees_what_the_logging_thread_calls(said: str, expected: dict[str, int]) -> None:
    trace = (
        f'7  open("x")\n7  write(2, "MARK begin\\n", 11) = 11\n{said}\n7  write(2, "MARK end\\n", 9) = 9\n7  close(1)'
    )
    assert between_the_marks(trace) == expected
