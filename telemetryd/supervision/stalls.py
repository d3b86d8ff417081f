"""Runs that make no progress, and where their processes stand then.

rows and output (inbox) ─┐
samples of GPUs and CPU ─┴─► Stall ──it begins──► py-spy ──stacks or why there are none──► told, saved with the run
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from telemetryd.health.events import Event
from telemetryd.health.stall import Stall
from telemetryd.inbox.progress import Progress
from telemetryd.limits import STALLED_PIDS_NAMED
from telemetryd.sampling.messages import Reading
from telemetryd.sampling.processes import read_stat
from telemetryd.settings.rules import BY_NAME, Limit
from telemetryd.settings.values import format_duration
from telemetryd.supervision.stacks import Stacks
from telemetryd.supervision.teller import Concerned, Teller
from telemetryd.supervision.watched import Watched

RULE = BY_NAME["no_progress"]
FOLDER = "telemetryd/no-progress"


def held_up(pids: Sequence[int]) -> tuple[str, str]:
    """What the kernel says that the first process which cannot run waits for, and what to do; "" where all can run."""
    for pid in pids:
        stat = read_stat(pid)
        if stat is not None and stat.state in "Tt":
            return f"process {pid} is stopped, by a signal or a debugger", f"`kill -CONT {pid}` lets it go on"
        if stat is not None and stat.state == "D":
            return (
                f"process {pid} waits in the kernel (D state)",
                "look at its disk, network file system or driver: dmesg",
            )
    return "", ""


class Stalls:
    """The runs that are sampled here. Runs on the daemon's main thread."""

    def __init__(self, limit: Limit | None, progress: Progress, teller: Teller) -> None:
        """`limit` None: the rule is off."""
        self._limit = limit
        self._progress = progress
        self._teller = teller
        self._stalls: dict[int, Stall] = {}
        self._watched: Mapping[int, Watched] = {}
        self._records: dict[int, int] = {}
        self._looks: dict[int, Stacks] = {}
        self._stacks: dict[int, str] = {}

    def pids(self) -> list[int]:
        """Processes that are ours to reap."""
        return [pid for look in self._looks.values() for pid in look.pids]

    def stacks_of(self, run_id: int) -> str:
        """The newest stacks of a run's processes; empty where none were taken."""
        return self._stacks.get(run_id, "")

    def renew(self, watched: Mapping[int, Watched], now_s: float) -> None:
        """Sessions or devices have changed."""
        if self._limit is None:
            return
        self._watched = dict(watched)
        for run_id in watched:
            self._stalls.setdefault(run_id, Stall(self._limit.number, now_s))
        for run_id in self._stalls.keys() - watched.keys():
            del self._stalls[run_id]
            if (look := self._looks.pop(run_id, None)) is not None:
                look.close()

    def forget(self, runs: set[int]) -> None:
        """These runs are there; stacks of others can go."""
        self._stacks = {run_id: text for run_id, text in self._stacks.items() if run_id in runs}

    def reading(self, reading: Reading, now_s: float) -> None:
        """A sample came."""
        if reading.scope.startswith("gpu:"):
            uuid = reading.scope.removeprefix("gpu:")
            for run_id, watched in self._watched.items():
                if uuid in watched.panel.ordinals and run_id in self._stalls:
                    self._stalls[run_id].gpu(uuid, reading.values)
        elif reading.scope.startswith("run:"):
            stall = self._stalls.get(int(reading.scope.removeprefix("run:")))
            if stall is not None:
                stall.processes(reading.values, now_s)

    def look(self, now_s: float) -> None:
        """What time and the inbox have brought. Raises InboxError."""
        if not self._stalls:
            return
        kept = self._progress.records_by_run()
        for run_id, stall in self._stalls.items():
            if kept.get(run_id) != self._records.get(run_id):
                was_told = run_id not in self._looks
                if stall.progressed(now_s) and was_told:
                    self._teller.cleared(RULE, str(run_id), "the run goes on", self._concerned(run_id))
            if stall.begins(now_s):
                self._looks[run_id] = Stacks(self._processes(run_id), now_s)
        self._records = kept
        for run_id, look in list(self._looks.items()):
            if look.done(now_s):
                del self._looks[run_id]
                if self._stalls[run_id].over:
                    self._tell(run_id, look, now_s)

    def _processes(self, run_id: int) -> list[tuple[str, int]]:
        return [
            (f"process {process.pid}" + (f", rank {process.rank}" if process.rank is not None else ""), process.pid)
            for process in self._watched[run_id].target.processes
        ]

    def _concerned(self, run_id: int) -> list[Concerned]:
        watched = self._watched[run_id]
        processes = watched.target.processes
        return [Concerned(run_id, watched.key, processes[0].rank if len(processes) == 1 else None)]

    def _tell(self, run_id: int, look: Stacks, now_s: float) -> None:
        stall = self._stalls[run_id]
        idle = "its GPUs spin without touching their memory" if stall.spinning else "CPU and GPUs are idle"
        message = f"nothing was logged or printed for {format_duration(stall.still_s(now_s))}, and {idle}"
        pids = [process.pid for process in self._watched[run_id].target.processes]
        held, what_to_do = held_up(pids)
        if held:
            message += f"; {held}"
        if place := look.place():
            message += f"; the main thread is in {place}"
        at_ns, advice, files = time.time_ns(), look.missing, {}
        if look.taken:
            self._stacks[run_id] = look.text()
            path = f"{FOLDER}/{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(at_ns / 1e9))}-stacks.txt"
            files[path] = look.text().encode("utf-8", "replace")
            named = ", ".join(map(str, pids[:STALLED_PIDS_NAMED]))
            where = f"the stacks of all threads are in the run's files, {path}; `py-spy dump --pid PID` shows them anew"
            advice = "; ".join(part for part in (f"{where} (PID: {named})", look.missing) if part)
        event = Event(at_ns, RULE.name, message, "; ".join(part for part in (what_to_do, advice) if part))
        self._teller.raised(RULE, str(run_id), event, self._concerned(run_id), lasts=True, files=files)

    def close(self) -> None:
        """End what runs."""
        for look in self._looks.values():
            look.close()
        self._looks.clear()
