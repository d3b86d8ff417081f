"""The sampling process: `python -m telemetryd.sampling.main --orders-fd N --reports-fd N --periods gpu=10,cpu=10,…`.

    main thread     orders from the daemon, signs of life, and a look at what hangs
    lanes           host · disk · process · one for each GPU · NVML's events · the driver's beginnings

A process of its own, so that a driver library that crashes takes nothing with it; lanes, so that a call that hangs
delays nothing else. It writes nothing but its log and ends when the order pipe closes.

Exit codes: 0 the daemon is gone or said so, 75 a call has hung for too long: start again.
"""

from __future__ import annotations

import argparse
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Sequence

from telemetryd.sampling import messages
from telemetryd.sampling.gpus import Gpus
from telemetryd.sampling.host import Cpu, DiskTraffic, Memory, Network, disk_space
from telemetryd.sampling.lane import Lane
from telemetryd.sampling.limits import BEAT_S, HUNG_LIMIT_S, HUNG_NOTICE_S, RING_PERIOD_S
from telemetryd.sampling.messages import HOST, Beat, Condition, Event, Reading, Report, Watch
from telemetryd.sampling.outbox import Outbox
from telemetryd.sampling.runs import Runs
from telemetryd.sampling.schedule import Due
from telemetryd.settings.families import FAMILIES

log = logging.getLogger("telemetryd.sampling.main")

EXIT_OK, EXIT_HUNG = 0, 75
_FLUSH_AFTER_S = 0.15
"""From a whole second, at which lanes read, until what they have read is passed on together."""
_READ_BYTES = 1 << 16


class Sampler:
    """The process's parts. `serve` runs on the main thread until the daemon is gone."""

    def __init__(self, orders_fd: int, reports_fd: int, periods_s: dict[str, float]) -> None:
        self._orders_fd = orders_fd
        self._outbox = Outbox(reports_fd)
        self._unpacker = messages.Unpacker()
        self._runs = Runs(self._emit)
        self._gpus = Gpus(periods_s, self._emit, self._runs.trees)
        self._cpu, self._memory, self._network, self._traffic = Cpu(), Memory(), Network(), DiskTraffic()

        def some(*families: str) -> dict[str, float]:
            return {name: periods_s[name] for name in families}

        self._lanes = (
            Lane("host", some("cpu", "memory", "network"), RING_PERIOD_S, self._read_host),
            Lane("disk", some("disk"), None, self._read_disks),
            Lane("process", some("process", "container"), RING_PERIOD_S, self._runs.read_processes),
        )
        self._hung: dict[str, float] = {}

    def _emit(self, report: Report) -> None:
        self._outbox.send(report)

    def _read_host(self, due: Due) -> None:
        now_ns = time.time_ns()
        values = self._cpu.read(whole="cpu" in due.families) | self._memory.read(whole="memory" in due.families)
        if "network" in due.families:
            values |= self._network.read()
        self._emit(Reading(now_ns, HOST, values, sorted(due.families)))

    def _read_disks(self, due: Due) -> None:
        now_ns = time.time_ns()
        values = self._traffic.read(self._runs.disk_paths(), time.monotonic())
        values |= disk_space(self._runs.host_paths())
        self._emit(Reading(now_ns, HOST, values, sorted(due.families)))
        self._runs.read_disks()

    def serve(self) -> int:
        """Until the order pipe closes; the exit code."""
        beat_s = 0.0
        started = False
        while True:
            ready, _, _ = select.select([self._orders_fd], [], [], _until_flush(time.monotonic()))
            if ready:
                data = os.read(self._orders_fd, _READ_BYTES)
                if not data:
                    return EXIT_OK
                for order in self._unpacker.orders(data):
                    self._obey(order)
                    if not started:  # the first order says what there is to read
                        started = True
                        self._gpus.start()
                        for lane in self._lanes:
                            lane.start()
            now_s = time.monotonic()
            if self._outbox.broken:
                return EXIT_OK
            if self._look_at_hung(now_s):
                return EXIT_HUNG
            self._outbox.flush()
            if now_s - beat_s >= BEAT_S:
                beat_s = now_s
                self._emit(Beat(self._outbox.dropped))

    def _obey(self, order: Watch) -> None:
        self._runs.watch(order)
        self._gpus.watch(order)

    def _look_at_hung(self, now_s: float) -> bool:
        """Tell what hangs and what came back; True when something has hung for too long."""
        hung = self._gpus.hung(now_s)
        hung |= {lane.name: busy_s for lane in self._lanes if (busy_s := lane.busy_s(now_s)) >= HUNG_NOTICE_S}
        for what in hung.keys() - self._hung.keys():
            log.warning("hung what=%r for_s=%.0f", what, hung[what])
            self._emit(Condition(f"hung {what}", f"{what} has not returned for {hung[what]:.0f} s"))
            if uuid := _uuid(what):
                self._emit(Event(time.time_ns(), "gpu_hung", f"the driver does not answer {what.partition(': ')[2]}",
                                 uuid, advice="dmesg may tell why; everything else is sampled on"))  # fmt: skip
        for what in self._hung.keys() - hung.keys():
            log.info("answers_again what=%r", what)
            self._emit(Condition(f"hung {what}"))
            if uuid := _uuid(what):
                self._emit(Event(time.time_ns(), "gpu_answers", "the driver answers again", uuid))
        self._hung = hung
        return any(seconds >= HUNG_LIMIT_S for seconds in hung.values())


def _until_flush(now_s: float) -> float:
    """Until a moment after the next whole second."""
    return 1.0 - (now_s - _FLUSH_AFTER_S) % 1.0


def _uuid(what: str) -> str | None:
    name, colon, _ = what.partition(": ")
    return name if colon and name.startswith(("GPU-", "MIG-")) else None


def _periods(text: str) -> dict[str, float]:
    pairs = [pair.partition("=") for pair in text.split(",")]
    found = {name: float(seconds) for name, _, seconds in pairs}
    if found.keys() != FAMILIES.keys():
        raise argparse.ArgumentTypeError(f"a period for each of {', '.join(FAMILIES)} is needed")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Sample; ends the process."""
    parser = argparse.ArgumentParser(prog="telemetryd.sampling.main", description="Samples GPUs and the host.")
    parser.add_argument("--orders-fd", type=int, required=True, help="pipe to read orders from")
    parser.add_argument("--reports-fd", type=int, required=True, help="pipe to write reports to")
    parser.add_argument("--periods", type=_periods, required=True, help="family=seconds,…")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to everybody; the daemon decides
    code = Sampler(options.orders_fd, options.reports_fd, options.periods).serve()
    logging.shutdown()
    os._exit(code)  # threads that hang in a driver would keep the interpreter


if __name__ == "__main__":
    main()
