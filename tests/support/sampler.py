"""The sampling process by itself, spoken to as the daemon speaks to it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from telemetryd.sampling import messages
from telemetryd.sampling.messages import Devices, Event, Process, Reading, Target, Watch
from telemetryd.sampling.processes import read_stat
from telemetryd.settings.families import FAMILIES

DEADLINE_S = 30.0
R = TypeVar("R", bound=messages.Report)


class SamplerRig:
    """`rig.watch(…)` starts sampling; `rig.wait_for(Reading, lambda reading: …)` waits for what it reports."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str] | None = None, period_s: float = 0.2, **periods_s: float
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log_path = folder / "sampler.log"
        orders_read, self._orders = os.pipe()
        self._reports, reports_write = os.pipe()
        periods = dict.fromkeys(FAMILIES, period_s) | periods_s
        command = [sys.executable, "-m", "telemetryd.sampling.main", "--orders-fd", str(orders_read)]
        command += ["--reports-fd", str(reports_write)]
        command += ["--periods", ",".join(f"{name}={period}" for name, period in periods.items())]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                pass_fds=(orders_read, reports_write),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
            )
        os.close(orders_read)
        os.close(reports_write)
        self._unpacker = messages.Unpacker()
        self.reports: list[messages.Report] = []
        self._taken = 0

    def watch(self, *targets: Target, all_gpus: bool = False, paths: list[str] | None = None) -> None:
        os.write(self._orders, messages.pack(Watch(list(targets), all_gpus, paths or [])))

    def wait_for(self, kind: type[R], condition: Callable[[R], object] = lambda report: True) -> R:
        """The next report of a kind, after those that were waited for before, that satisfies the condition."""
        end = time.monotonic() + DEADLINE_S
        while True:
            while self._taken < len(self.reports):
                report = self.reports[self._taken]
                self._taken += 1
                if isinstance(report, kind) and condition(report):
                    return report
            if not self._read(end):
                told = [report for report in self.reports if not isinstance(report, Reading)]
                raise AssertionError(f"no such {kind.__name__}; told {told[-9:]}\n{self.log_path.read_text()}")

    def reading(self, scope: str, *families: str) -> Reading:
        """The next whole reading of these families."""
        return self.wait_for(Reading, lambda read: read.scope == scope and set(families) <= set(read.families))

    def event(self, kind: str) -> Event:
        return self.wait_for(Event, lambda event: event.kind == kind)

    def events(self) -> list[str]:
        return [report.kind for report in self.reports if isinstance(report, Event)]

    def devices(self) -> Devices:
        return self.wait_for(Devices)

    def forget(self) -> None:
        """What was reported up to now is not waited for."""
        while self._read(time.monotonic()):
            pass
        self._taken = len(self.reports)

    def _read(self, end: float) -> bool:
        ready, _, _ = select.select([self._reports], [], [], max(0.0, end - time.monotonic()))
        data = os.read(self._reports, 1 << 18) if ready else b""
        self.reports += self._unpacker.reports(data)
        return bool(data)

    def end(self) -> int:
        """Close the order pipe, as a daemon's death does; the exit code."""
        os.close(self._orders)
        self._orders = -1
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for fd in (self._orders, self._reports):
            if fd >= 0:
                os.close(fd)
        self._orders = self._reports = -1


def this_process(run: int = 1, **fields: object) -> Target:
    """A run whose main process is the test's own."""
    stat = read_stat(os.getpid())
    assert stat is not None
    return Target(run, [Process(os.getpid(), stat.start_ticks, 0, 0)], **fields)  # type: ignore[arg-type]
