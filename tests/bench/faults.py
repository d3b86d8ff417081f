"""What a fault costs: rows after a SIGKILL of training, and the longest call while the tracker's process is stopped.

The same two experiments for telemetryd and for wandb, each in a training process of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from telemetryd.runs.wandb_file import history_steps
from tests.bench.measure import rows
from tests.bench.peers import PEERS
from tests.bench.units import duration
from tests.support.daemon import Daemon
from tests.support.processes import command_line, descendants, kill_tree

KILLED_AFTER_ROWS = 1000
KILLS = 5
"""wandb-core sometimes still writes what it has when its owner dies, and sometimes does not."""

STOPPED_FOR_S = 5.0
STOPPED_ROWS = 2000
PERIOD_S = 0.001
DEADLINE_S = 120.0


@dataclass(frozen=True)
class Found:
    """What one peer came to. `rows_kept` is the worst of all tries."""

    title: str
    rows_logged: int
    rows_kept: int
    longest_call_ms: float


def measure(names: list[str], folder: Path, daemon: Daemon) -> list[Found]:
    """Both experiments for the peers that keep rows. The daemon runs already."""
    return [
        Found(
            PEERS[name]().title,
            KILLED_AFTER_ROWS,
            min(_rows_after_a_kill(name, folder / f"{name}-killed-{turn}", daemon) for turn in range(KILLS)),
            _longest_call_while_stopped(name, folder / f"{name}-stopped", daemon),
        )
        for name in names
        if name in ("client", "wandb")
    ]


def markdown(found: list[Found]) -> str:
    """A table with a row for each peer."""
    lines = [
        f"| | rows in the run after SIGKILL of training ({KILLED_AFTER_ROWS:,} logged; the fewest of {KILLS} tries)"
        f" | longest call while the tracker's process is stopped for {STOPPED_FOR_S:g} s |",
        "|---|---:|---:|",
    ]
    lines += [f"| {peer.title} | {peer.rows_kept:,} | {duration(peer.longest_call_ms * 1e3)} |" for peer in found]
    return "\n".join(lines) + "\n"


def _rows_after_a_kill(name: str, folder: Path, daemon: Daemon) -> int:
    with _training(_log_and_die, name, folder) as (process, _):
        process.join(DEADLINE_S)
        assert process.exitcode == -signal.SIGKILL, f"{name} was to be killed, and ended with {process.exitcode}"
    if name == "client":

        def finished(status: dict[str, Any]) -> bool:
            mine = [run for run in status["runs"] if str(folder) in (run.get("directory") or "")]
            return any(run["state"] == "finished" for run in mine)

        daemon.wait_status(finished, DEADLINE_S, "the end of the killed training process's run")
    return _rows_in_files(folder)


def _longest_call_while_stopped(name: str, folder: Path, daemon: Daemon) -> float:
    with _training(_log_while_stopped, name, folder) as (process, pipe):
        assert pipe.poll(DEADLINE_S), f"{name} did not begin"
        pipe.recv()
        pid = daemon.pid if name == "client" else _wandb_core(process.pid or 0)
        os.kill(pid, signal.SIGSTOP)
        try:
            pipe.send("stopped")
            time.sleep(STOPPED_FOR_S)  # the fault's length
        finally:
            os.kill(pid, signal.SIGCONT)
        assert pipe.poll(DEADLINE_S), f"{name} did not end"
        longest_ms: float = pipe.recv()
        process.join(DEADLINE_S)
    return longest_ms


def _wandb_core(owner: int) -> int:
    (pid,) = (pid for pid in descendants(owner) if "wandb-core" in command_line(pid).split(" ")[0])
    return pid


def _rows_in_files(folder: Path) -> int:
    return sum(len(history_steps(path)) for path in folder.glob("wandb/*run-*/run-*.wandb"))


@contextmanager
def _training(
    target: Callable[[str, str, Connection], None], name: str, folder: Path
) -> Iterator[tuple[multiprocessing.process.BaseProcess, Connection]]:
    folder.mkdir(parents=True)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(name, str(folder), theirs), name=f"training {name}")
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        kill_tree(process.pid or 0)
        process.join(10)
        ours.close()


def _log_and_die(name: str, folder: str, pipe: Connection) -> None:
    log = PEERS[name]().open(Path(folder))
    for row in rows(KILLED_AFTER_ROWS, seed=1):
        log(row)
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def _log_while_stopped(name: str, folder: str, pipe: Connection) -> None:
    peer = PEERS[name]()
    log = peer.open(Path(folder))
    for row in rows(100, seed=1):
        log(row)
    pipe.send("ready")
    pipe.recv()
    longest_ns = 0
    for row in rows(STOPPED_ROWS, seed=2):
        begin = time.perf_counter_ns()
        log(row)
        longest_ns = max(longest_ns, time.perf_counter_ns() - begin)
        time.sleep(PERIOD_S)
    pipe.send(longest_ns / 1e6)
    peer.close()
