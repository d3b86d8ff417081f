"""What an answer is made from, taken at one moment: plain values, so that nothing of the daemon is held meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from telemetryd.sampling.messages import Device


@dataclass(frozen=True)
class OwnProcess:
    """One of telemetryd's own processes: daemon, sampler, worker, wandb-core or api; `run` is a worker's run's key."""

    process: str
    pid: int
    run: str = ""


@dataclass(frozen=True)
class Use:
    """What an own process has used."""

    of: OwnProcess
    cpu_s: float
    memory_bytes: int
    threads: int


@dataclass(frozen=True)
class Queues:
    """How full inbox and spool are. `batches` are by the run's key."""

    inbox_bytes: int
    inbox_limit_bytes: int
    batches: dict[str, int]
    spool_bytes: int
    spool_journals: int


@dataclass(frozen=True)
class Snapshot:
    """Everything in /metrics. `status` is what `telemetryd status --json` prints, None when the inbox could not be
    read; `findings` and `active` are by health rule, how often and how many now; `values` are the machine's by scope
    and metric; `runs` the keys of the runs by their number."""

    identity: dict[str, Any]
    status: dict[str, Any] | None
    queues: Queues | None
    counters: dict[str, int]
    components: dict[str, dict[str, str | None]]
    events: dict[tuple[str, int | None], int]
    findings: dict[str, int]
    active: dict[str, int]
    loop_ages_s: dict[str, float]
    uses: list[Use]
    node: str
    devices: list[Device] = field(default_factory=list)
    driver: str | None = None
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    runs: dict[int, str] = field(default_factory=dict)
