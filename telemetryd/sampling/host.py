"""The host: CPU, memory, disks, networks. The only importer of psutil.

Each class reads one family and keeps what it needs of its reading before. wandb counts disk and network traffic from
the beginning of its sampling; so do these.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from telemetryd.sampling.catalogue import labelled
from telemetryd.sampling.cgroup import device_of, pressure

_MIB = float(1 << 20)
_GIB = float(1 << 30)


class Cpu:
    """Family "cpu"."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._before: Any = None

    def read(self, *, whole: bool) -> dict[str, float]:
        """CPU time since the reading before; the first has none."""
        values: dict[str, float] = {}
        now, before = psutil.cpu_times(), self._before
        self._before = now
        if before is not None:
            spent = {name: max(0.0, getattr(now, name) - getattr(before, name)) for name in now._fields}
            guests = spent.get("guest", 0.0) + spent.get("guest_nice", 0.0)  # counted in user and nice, too
            total = sum(spent.values()) - guests
            if total > 0:
                unused = spent["idle"] + spent.get("iowait", 0.0)
                values["host_cpu_percent"] = 100.0 * (total - unused) / total
                values["host_cpu_iowait_percent"] = 100.0 * spent.get("iowait", 0.0) / total
                values["host_cpu_steal_percent"] = 100.0 * spent.get("steal", 0.0) / total
        values["host_load1"], values["host_load5"], values["host_load15"] = os.getloadavg()
        if whole:
            told = pressure(self._proc / "pressure", "host_pressure")
            values |= {name: value for name, value in told.items() if value is not None}
        return values


class Memory:
    """Family "memory"."""

    def read(self, *, whole: bool) -> dict[str, float]:
        """Memory and, with `whole`, swap."""
        memory = psutil.virtual_memory()
        values = {
            "host_memory_used_percent": 100.0 * (memory.total - memory.available) / memory.total,
            "host_memory_available_mb": memory.available / _MIB,
        }
        if whole:
            values["host_memory_total_bytes"] = float(memory.total)
            values["host_memory_cached_bytes"] = float(memory.cached)
            values["host_memory_shared_bytes"] = float(memory.shared)
            swap = psutil.swap_memory()
            values["host_swap_used_bytes"] = float(swap.used)
            if swap.total:
                values["host_swap_used_percent"] = 100.0 * swap.used / swap.total
            values["host_swapped_in_bytes"], values["host_swapped_out_bytes"] = float(swap.sin), float(swap.sout)
        return values


def disk_space(paths: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Space at each (label, path); a path that is not there yet stands for the folder above it that is. A network disk
    that hangs blocks."""
    values: dict[str, float] = {}
    for label, path in paths:
        try:
            said = os.statvfs(_nearest(path))
        except OSError:
            continue
        used, free = (said.f_blocks - said.f_bfree) * said.f_frsize, said.f_bavail * said.f_frsize
        values[labelled("disk_used_gb", label)] = used / _GIB
        values[labelled("disk_free_bytes", label)] = float(free)
        values[labelled("disk_free_inodes", label)] = float(said.f_favail)
        if used + free:
            values[labelled("disk_used_percent", label)] = 100.0 * used / (used + free)
    return values


def _nearest(path: str) -> str:
    while not os.path.exists(path) and path != os.path.dirname(path):  # noqa: PTH110, PTH120 - strings of others
        path = os.path.dirname(path)  # noqa: PTH120
    return path


class DiskTraffic:
    """The other half of family "disk": what the disks that hold the paths read and wrote."""

    def __init__(self) -> None:
        self._first: dict[str, Any] = {}
        self._before: dict[str, tuple[float, float]] = {}

    def read(self, paths: Iterable[str], now_s: float) -> dict[str, float]:
        """Traffic since the first reading, time busy since the reading before."""
        disks = {device for path in paths if (device := device_of(_nearest(path))) is not None}
        counters = psutil.disk_io_counters(perdisk=True) or {}
        values: dict[str, float] = {}
        for name in sorted(disks & counters.keys()):
            said = counters[name]
            first = self._first.setdefault(name, said)
            values[labelled("disk_read_mb", name)] = max(0, said.read_bytes - first.read_bytes) / _MIB
            values[labelled("disk_written_mb", name)] = max(0, said.write_bytes - first.write_bytes) / _MIB
            busy_ms = float(getattr(said, "busy_time", 0.0))
            if name in self._before and now_s > self._before[name][0]:
                then_s, then_ms = self._before[name]
                values[labelled("disk_busy_percent", name)] = min(100.0, (busy_ms - then_ms) / (now_s - then_s) / 10.0)
            self._before[name] = (now_s, busy_ms)
        return values


class Network:
    """Family "network"."""

    def __init__(self, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._proc = proc
        self._sys = sys
        self._first: dict[str, float] = {}

    def read(self) -> dict[str, float]:
        """Traffic since the first reading; InfiniBand as the port counts."""
        now = self._now()
        for name, value in now.items():
            self._first.setdefault(name, value)
        values = {name: max(0.0, value - self._first[name]) for name, value in now.items()}
        return values | self._infiniband()

    def _now(self) -> dict[str, float]:
        interfaces = psutil.net_io_counters(pernic=True, nowrap=True) or {}
        said = [counters for name, counters in interfaces.items() if name != "lo"]
        values = {
            "network_sent_bytes": float(sum(counters.bytes_sent for counters in said)),
            "network_received_bytes": float(sum(counters.bytes_recv for counters in said)),
            "network_errors": float(sum(counters.errin + counters.errout for counters in said)),
            "network_drops": float(sum(counters.dropin + counters.dropout for counters in said)),
        }
        retransmits = self._tcp_retransmits()
        return values if retransmits is None else values | {"network_tcp_retransmits": retransmits}

    def _tcp_retransmits(self) -> float | None:
        try:
            lines = (self._proc / "net" / "snmp").read_text(encoding="ascii").splitlines()
        except OSError:
            return None
        tables = [line.split() for line in lines if line.startswith("Tcp:")]
        if len(tables) != 2 or "RetransSegs" not in tables[0]:
            return None
        return float(tables[1][tables[0].index("RetransSegs")])

    def _infiniband(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for port in sorted(self._sys.glob("class/infiniband/*/ports/*/counters")):
            label = f"{port.parts[-4]}:{port.parts[-2]}"
            for name, (file, scale) in _PORT_COUNTERS.items():
                try:
                    values[labelled(f"infiniband_{name}", label)] = float((port / file).read_text()) * scale
                except (OSError, ValueError):
                    continue  # this kind of port does not count it
        return values


_PORT_COUNTERS = {
    "sent_bytes": ("port_xmit_data", 4),  # counted in words of four bytes
    "received_bytes": ("port_rcv_data", 4),
    "sent_packets": ("port_xmit_packets", 1),
    "received_packets": ("port_rcv_packets", 1),
    "send_waits": ("port_xmit_wait", 1),
    "symbol_errors": ("symbol_error", 1),
    "link_downs": ("link_downed", 1),
    "link_recoveries": ("link_error_recovery", 1),
    "receive_errors": ("port_rcv_errors", 1),
    "send_discards": ("port_xmit_discards", 1),
}
