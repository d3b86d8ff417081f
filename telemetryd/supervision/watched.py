"""Which runs are sampled, and what of each: from open sessions to a Target for the sampler and a Panel for W&B."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from client.protocol.messages import Hello
from telemetryd.sampling.messages import Device, Process, Target
from telemetryd.sampling.panel import Panel
from telemetryd.supervision import leftovers, training_process

log = logging.getLogger(__name__)

_decode = msgspec.msgpack.Decoder(Hello).decode


@dataclass
class Watched:
    """A run that is sampled. `panel` is made anew when devices change."""

    run: int
    key: str
    target: Target
    label: str | None
    interval_s: float
    """The run asked for samples no closer than this (x_stats_sampling_interval); 0: as the daemon has it."""
    panel: Panel
    sent_ns: dict[str, int] = field(default_factory=dict)
    """When each scope and family was last passed on."""

    def see(self, devices: Sequence[Device]) -> None:
        """The machine's GPUs are these now."""
        self.panel = Panel(self.target, devices, self.label)

    def rank_on(self, uuid: str) -> int | None:
        """The rank that works on a GPU: the only one, or the one whose local rank is the GPU's ordinal."""
        processes = self.target.processes
        if len(processes) == 1:
            return processes[0].rank
        ordinal = self.panel.ordinals.get(uuid)
        of_it = [process.rank for process in processes if process.local_rank == ordinal]
        return of_it[0] if ordinal is not None and len(of_it) == 1 else None


class Watchlist:
    """Makes Watched from sessions; remembers which process each session is."""

    def __init__(self, node_label: str, *, local_endpoint: bool) -> None:
        """`local_endpoint`: whoever is connected runs on this machine, whatever its host is called."""
        self._node_label = node_label
        self._local_endpoint = local_endpoint
        self._processes: dict[str, leftovers.Process | None] = {}
        self._several: set[int] = set()
        """Runs that had processes on several nodes; their keys keep the label when those have ended."""
        self._hosts = {os.uname().nodename, socket.gethostname()}

    def make(
        self,
        sessions: Sequence[tuple[int, str, bytes]],
        devices: Sequence[Device],
        nodes: Mapping[int, int] | None = None,
    ) -> dict[int, Watched]:
        """Of every open training session (run, key, hello): the runs that train on this machine. `nodes`: on how many
        machines they train, where somebody knows better than these sessions tell."""
        by_run: dict[int, list[tuple[str, Hello]]] = {}
        for run, key, hello_bytes in sessions:
            by_run.setdefault(run, []).append((key, _decode(hello_bytes)))
        known = {hello.session for hellos in by_run.values() for _, hello in hellos}
        self._processes = {session: found for session, found in self._processes.items() if session in known}
        self._several &= by_run.keys()
        watched: dict[int, Watched] = {}
        for run, hellos in by_run.items():
            here = [hello for _, hello in hellos if self._is_here(hello)]
            if 0 < len(here) < len(hellos) or (nodes or {}).get(run, 1) > 1:
                self._several.add(run)
            if here and (made := self._watch(run, hellos[0][0], here, devices)) is not None:
                watched[run] = made
        return watched

    def _is_here(self, hello: Hello) -> bool:
        return hello.host in self._hosts or self._local_endpoint or self._process(hello) is not None

    def _process(self, hello: Hello) -> leftovers.Process | None:
        if hello.session not in self._processes:
            found = self._processes[hello.session] = training_process.find(hello)
            if found is None:
                log.info("process_not_seen session=%s pid=%d host=%s", hello.session, hello.pid, hello.host)
        return self._processes[hello.session]

    def _watch(self, run: int, key: str, hellos: list[Hello], devices: Sequence[Device]) -> Watched | None:
        first = min(hellos, key=lambda hello: (hello.rank or 0, hello.start_time_ns))
        spec = first.run
        settings: Mapping[str, Any] = spec.settings if spec is not None else {}
        if settings.get("x_disable_stats") is True:
            return None
        environ = _environ(first)
        ordered = [first, *(hello for hello in hellos if hello is not first)]
        found = [(hello, process) for hello in ordered if (process := self._process(hello)) is not None]
        target = Target(
            run,
            [Process(one.pid, one.start_ticks, hello.rank, hello.local_rank) for hello, one in found],
            environ.get("CUDA_VISIBLE_DEVICES"),
            environ.get("CUDA_DEVICE_ORDER"),
            _paths(spec.directory if spec is not None else "", settings) if self._local_endpoint or found else [],
            settings.get("x_stats_track_process_tree") is True,
        )  # fmt: skip
        label = self._label(settings, environ, first, several=run in self._several or _nodes(environ) > 1)
        interval = settings.get("x_stats_sampling_interval")
        interval_s = float(interval) if isinstance(interval, (int, float)) else 0.0
        return Watched(run, key, target, label, interval_s, Panel(target, devices, label))

    def _label(
        self, settings: Mapping[str, Any], environ: Mapping[str, str], hello: Hello, *, several: bool
    ) -> str | None:
        given = settings.get("x_label")
        if isinstance(given, str) and given:
            return given
        if self._node_label == "auto":
            return (environ.get("SLURMD_NODENAME") or hello.host or os.uname().nodename) if several else None
        return None if self._node_label == "off" else self._node_label


def _environ(hello: Hello) -> dict[str, str]:
    told = hello.run.metadata.get("environ") if hello.run is not None else None
    return {str(name): str(value) for name, value in told.items()} if isinstance(told, dict) else {}


def _number(environ: Mapping[str, str], names: Sequence[str]) -> int | None:
    return next((int(environ[name]) for name in names if environ.get(name, "").isdigit()), None)


def _nodes(environ: Mapping[str, str]) -> int:
    """How many nodes the job has, as far as its launcher told."""
    told = _number(environ, ("SLURM_NNODES", "GROUP_WORLD_SIZE"))
    world, local = _number(environ, ("WORLD_SIZE",)), _number(environ, ("LOCAL_WORLD_SIZE",))
    return max(told or 1, -(-world // local) if world and local else 1)


def _paths(directory: str, settings: Mapping[str, Any]) -> list[str]:
    given = settings.get("x_stats_disk_paths")
    listed = [path for path in given if isinstance(path, str)] if isinstance(given, (list, tuple)) else []
    return list(dict.fromkeys(path for path in (directory, *listed) if path))
