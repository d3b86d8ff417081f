"""What is measured in fresh processes: starting, dying, and going on while the tracker's process is stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from tests.bench.environments import ROOT
from tests.bench.figures import spread
from tests.bench.peers import load
from tests.bench.peers.base import DURABILITY, START, STOPPED
from tests.bench.plan import PERIOD_NS, Plan
from tests.bench.runner import PeerError, Runner
from tests.bench.server import WARM_UP_CALLS
from tests.bench.session import Session
from tests.support.processes import alive, command_line, descendants, send, wait_until, with_environment

Figures = dict[str, dict[str, Any]]

START_DEADLINE_S = 120.0
END_DEADLINE_S = 120.0
ORPHANS_DEADLINE_S = 15.0
"""What a tracker's own process gets to write what it has after its owner was killed."""

STOPPED_ROWS = 2000


def _rounds(session: Session, rounds: int, what: str, can: str) -> Iterator[tuple[int, str]]:
    """(round, peer), the peers taking turns. A peer that failed in the meantime has no turn any more."""
    for number in range(rounds):
        for name in [name for name in session.pythons if can in load(name).can]:
            if name not in session.absent:
                yield number, name


def starts(session: Session, plan: Plan) -> Figures:
    """`import` and `init` over bare Python; the first of each peer, which reads its files from disk and leaves compiled
    ones behind, is not counted."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # whoever installs a package has its compiled files
    taken: dict[str, list[tuple[float, float]]] = {}
    for number, name in _rounds(session, plan.starts + 1, "start", START):
        folder = session.folder / f"{name}-start-{number}"
        folder.mkdir()
        command = [session.pythons[name], "-c", "from tests.bench.startup import main; main()", name, str(folder)]
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, timeout=START_DEADLINE_S, check=False,
            )  # fmt: skip
            words = next(line for line in done.stdout.splitlines() if line.startswith("started ")).split()
        except (subprocess.TimeoutExpired, StopIteration):
            session.leave(name, "start", f"no start within {START_DEADLINE_S:g} s, or an error")
            continue
        if number:
            taken.setdefault(name, []).append((float(words[1]), float(words[2])))
    return {
        name: {
            "ms": statistics.median(ms for ms, _ in of_peer),
            "mb": statistics.median(mb for _, mb in of_peer),
            "ms_over_starts": spread([ms for ms, _ in of_peer]),
            "starts": len(of_peer),
        }
        for name, of_peer in taken.items()
    }


def durability(session: Session, plan: Plan) -> Figures:
    """Rows in the run after SIGKILL of training right behind its last call, of `killed_after_rows`, by try."""
    kept: dict[str, list[int]] = {}
    for _, name in _rounds(session, plan.kills, "SIGKILL", DURABILITY):
        with _open(session, name, "killed") as runner:
            try:
                runner.wait_ready()
                runner.ask("prepare", plan.killed_after_rows - WARM_UP_CALLS, 1, "floats")
                runner.send("die")
                runner.process.wait(END_DEADLINE_S)
                assert runner.process.returncode == -signal.SIGKILL, f"ended with {runner.process.returncode}"
                _wait_for_the_tracker(session, runner)
                kept.setdefault(name, []).append(_rows(session, runner))
            except (PeerError, AssertionError) as error:
                session.leave(name, "SIGKILL", str(error).splitlines()[0])
    return {name: {"logged": plan.killed_after_rows, "kept": of_peer} for name, of_peer in kept.items()}


def _wait_for_the_tracker(session: Session, runner: Runner) -> None:
    """Until all that can write something of the dead process's rows has done so."""
    if runner.name == "client":

        def finished(status: dict[str, Any]) -> bool:
            mine = [run for run in status["runs"] if str(runner.folder) in (run.get("directory") or "")]
            return any(run["state"] == "finished" for run in mine)

        session.daemon.wait_status(finished, END_DEADLINE_S, "the end of the killed training process's run")
        return
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not with_environment(runner.mark), ORPHANS_DEADLINE_S, "the end of the tracker's processes")
    for pid in with_environment(runner.mark):
        send(pid, signal.SIGKILL)


def _rows(session: Session, runner: Runner) -> int:
    command = [session.pythons[runner.name], "-m", "tests.bench.server", "rows", runner.name, str(runner.folder)]
    done = subprocess.run(
        command, cwd=runner.folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1]
    return int(done.stdout.split()[-1])


def stopped(session: Session, plan: Plan) -> Figures:
    """The longest of 2,000 calls, one a millisecond, while the tracker's own process is stopped for a while."""
    longest: dict[str, dict[str, Any]] = {}
    for _, name in _rounds(session, 1, "stopped", STOPPED):
        with _open(session, name, "stopped") as runner:
            try:
                runner.wait_ready()
                runner.ask("prepare", STOPPED_ROWS, 2, "floats")
                pid = session.daemon.pid if name == "client" else _core(runner.process.pid)
                os.kill(pid, signal.SIGSTOP)
                try:
                    runner.send("timed", PERIOD_NS, 0, False)
                    time.sleep(plan.stopped_for_s)  # the fault's length
                finally:
                    os.kill(pid, signal.SIGCONT)
                taken, _ = runner.answer()
                longest[name] = {
                    "longest_ms": max(memoryview(taken).cast("q")) / 1e6,
                    "stopped_for_s": plan.stopped_for_s,
                }
                runner.finish()
            except PeerError as error:
                session.leave(name, "stopped", error)
    return longest


def _core(owner: int) -> int:
    (pid,) = (pid for pid in descendants(owner) if "wandb-core" in command_line(pid).split(" ")[0] and alive(pid))
    return pid


@contextlib.contextmanager
def _open(session: Session, name: str, what: str) -> Iterator[Runner]:
    """A peer's process for the block, ended with all that it started."""
    runner = session.runner(name, what)
    try:
        yield runner
    finally:
        runner.kill()
        for pid in with_environment(runner.mark):
            send(pid, signal.SIGKILL)
