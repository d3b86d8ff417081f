"""The families of /metrics that are about telemetryd itself, as data. Those of the machine are in sampling's catalogue.

docs/operations.md, the dashboard and the alert rules are held against these by tests.
"""

from __future__ import annotations

from dataclasses import dataclass

from telemetryd.health import counters
from telemetryd.sampling import catalogue
from telemetryd.sampling.metric import COUNTER, GAUGE, Metric

PREFIX = "telemetryd_"
RUN_STATES = ("starting", "running", "retrying", "refused", "finished")
COMPONENT_STATES = ("starting", "ok", "recoverable", "permanent", "stopping", "stopped")


@dataclass(frozen=True)
class Family:
    """One metric. `name` is the exported one, with `_total` for counters; `labels` are in the order of the series."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """The unit in the name, "" for counts of things and states."""
        words = self.name.removesuffix("_total").rsplit("_", 1)
        return words[-1] if words[-1] in UNITS else ""


UNITS = ("bytes", "seconds", "celsius", "watts", "joules", "hertz", "percent")


def _own(name: str, kind: str, help_: str, *labels: str) -> Family:
    return Family(f"{PREFIX}{name}", kind, help_, labels)


BUILD_INFO = _own("build_info", GAUGE, "1, with the versions of telemetryd and of its wire", "version", "protocol")
START_TIME = _own("start_time_seconds", GAUGE, "when the daemon was started, since the epoch")
INBOX_READABLE = _own(
    "inbox_readable", GAUGE, "whether the inbox could be read for this answer; if 0, what is read from it is missing"
)
LOOP_AGE = _own(
    "loop_age_seconds", GAUGE, "time since a loop of the daemon came round last; /healthz fails over 60", "loop"
)

RUN_INFO = _own("run_info", GAUGE, "1, with what a person knows a run by", "run", "name", "mode", "url")
RUN_STATE = _own("run_state", GAUGE, "1 for the state that the run's delivery is in", "run", "state")
RUN_STEP = _own("run_step", GAUGE, "the newest step that was written", "run")
ROWS_OFFERED = _own(
    "run_rows_offered_total", COUNTER, "rows that training logged: delivered + dropped + pending", "run"
)
ROWS_DELIVERED = _own("run_rows_delivered_total", COUNTER, "rows confirmed in W&B, or in the run's offline file", "run")
ROWS_DROPPED = _own("run_rows_dropped_total", COUNTER, "rows lost, by reason (counters.md)", "run", "reason")
ROWS_PENDING = _own("run_rows_pending", GAUGE, "rows on their way", "run")
ROWS_LATE = _own("run_rows_late_total", COUNTER, "rows that came with a step lower than one already written", "run")
MEDIA_LOST = _own(
    "run_media_lost_total", COUNTER, "media values lost by reason, of rows that were delivered", "run", "reason"
)
RUN_LAG = _own(
    "run_lag_seconds", GAUGE, "age of the oldest row that is not confirmed; 0 where nothing is pending", "run"
)
RUN_SESSIONS = _own("sessions_open", GAUGE, "processes that have a session with the daemon")

INBOX_BYTES = _own("inbox_used_bytes", GAUGE, "what the inbox holds")
INBOX_LIMIT = _own("inbox_limit_bytes", GAUGE, "what the inbox may hold")
INBOX_BATCHES = _own(
    "inbox_batches",
    GAUGE,
    "messages of clients in the inbox, confirmed ones that are not deleted yet among them",
    "run",
)
SPOOL_BYTES = _own("spool_bytes", GAUGE, "size of the journals in the spool")
SPOOL_JOURNALS = _own(
    "spool_journals", GAUGE, "journals in the spool: of living processes, and of dead ones to be adopted"
)
ARTIFACTS = _own("artifacts", GAUGE, "artifacts by state", "state")

COMPONENT_STATE = _own(
    "component_state", GAUGE, "1 for the state that a component of the daemon is in", "component", "state"
)
EVENTS = _own("events_total", COUNTER, "events by kind (sampling.md); `code` is an XID's number", "kind", "code")

FINDINGS = _own("health_findings_total", COUNTER, "how often each health rule has found something (health.md)", "rule")
ACTIVE = _own(
    "health_active", GAUGE, "what each health rule has found that is not over: how many GPUs, paths or runs", "rule"
)

SELF_CPU = _own("self_cpu_seconds_total", COUNTER, "CPU time of telemetryd's own processes", "process", "run")
SELF_MEMORY = _own(
    "self_resident_memory_bytes", GAUGE, "resident memory of telemetryd's own processes", "process", "run"
)
SELF_THREADS = _own("self_threads", GAUGE, "threads of telemetryd's own processes", "process", "run")

GPU_INFO = _own("gpu_info", GAUGE, "1, with what a GPU is", "uuid", "gpu", "node", "model", "pci", "driver", "mig")

OWN: tuple[Family, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Family))

COUNTERS: dict[str, Family] = {
    name: Family(f"{PREFIX}{name}_total", COUNTER, help_) for name, help_ in counters.KNOWN.items()
}
"""The daemon's counters by their name in `status`."""

_RUN_METRICS = {metric.name for metric in catalogue.RUN_METRICS}
_HOST_METRICS = {metric.name for metric in catalogue.HOST_METRICS}


def _labels(metric: Metric) -> tuple[str, ...]:
    """A path's space is told of the host and, as training sees the path, of a run: `run` is empty for the host."""
    own = (metric.label,) if metric.label else ()
    if metric.label == "path" or metric.name in _RUN_METRICS:
        return ("run", "node", *own)
    return ("node", *own) if metric.name in _HOST_METRICS else ("uuid", "gpu", "node")


MACHINE: dict[str, Family] = {
    metric.name: Family(metric.prometheus, metric.kind, metric.help, _labels(metric)) for metric in catalogue.METRICS
}
"""The catalogue's metrics by their name in readings."""


def every() -> tuple[Family, ...]:
    """All that /metrics may have."""
    return (*OWN, *COUNTERS.values(), *MACHINE.values())
