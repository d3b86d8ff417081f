"""From a snapshot to series: which labels and values each family has. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from telemetryd.sampling.catalogue import BY_NAME, split
from telemetryd.sampling.messages import HOST, Device
from telemetryd.web import families as f
from telemetryd.web.families import Family
from telemetryd.web.snapshot import Snapshot

Point = tuple[Family, tuple[str, ...], float]


def series(snapshot: Snapshot) -> Iterator[Point]:
    """Every point: (family, label values in the family's order, value)."""
    identity = snapshot.identity
    yield f.BUILD_INFO, (str(identity.get("version", "")), str(identity.get("protocol", ""))), 1.0
    yield f.START_TIME, (), identity.get("started_ns", 0) / 1e9
    yield f.INBOX_READABLE, (), float(snapshot.status is not None)
    for loop, age_s in snapshot.loop_ages_s.items():
        yield f.LOOP_AGE, (loop,), age_s
    yield from _ledger(snapshot)
    yield from _queues(snapshot)
    for component, status in snapshot.components.items():
        for state in f.COMPONENT_STATES:
            yield f.COMPONENT_STATE, (component, state), float(status["state"] == state)
    for (kind, code), count in snapshot.events.items():
        yield f.EVENTS, (kind, "" if code is None else str(code)), float(count)
    for rule, count in snapshot.findings.items():
        yield f.FINDINGS, (rule,), float(count)
        yield f.ACTIVE, (rule,), float(snapshot.active.get(rule, 0))
    for name, count in snapshot.counters.items():
        yield f.COUNTERS[name], (), float(count)
    for use in snapshot.uses:
        labels = (use.of.process, use.of.run)
        yield f.SELF_CPU, labels, use.cpu_s
        yield f.SELF_MEMORY, labels, float(use.memory_bytes)
        yield f.SELF_THREADS, labels, float(use.threads)
    yield from _machine(snapshot)


def _ledger(snapshot: Snapshot) -> Iterator[Point]:
    status = snapshot.status
    if status is None:
        return
    yield f.RUN_SESSIONS, (), float(status["sessions"])
    for run in status["runs"]:
        key = run["key"]
        yield f.RUN_INFO, (key, run.get("name") or "", run.get("mode") or "", run.get("url") or ""), 1.0
        for state in f.RUN_STATES:
            yield f.RUN_STATE, (key, state), float(run["state"] == state)
        yield f.ROWS_OFFERED, (key,), float(run["offered"])
        yield f.ROWS_DELIVERED, (key,), float(run["delivered"])
        for reason, count in run["dropped"].items():
            yield f.ROWS_DROPPED, (key, reason), float(count)
        yield f.ROWS_PENDING, (key,), float(run["pending"])
        yield f.ROWS_LATE, (key,), float(run["late"])
        for reason, count in run["media_lost"].items():
            yield f.MEDIA_LOST, (key, reason), float(count)
        if (step := run.get("step")) is not None:
            yield f.RUN_STEP, (key,), float(step)
        if (lag_s := run.get("lag_s")) is not None:
            yield f.RUN_LAG, (key,), float(lag_s)
    for state, count in status["artifacts"]["counts"].items():
        yield f.ARTIFACTS, (state,), float(count)


def _queues(snapshot: Snapshot) -> Iterator[Point]:
    queues = snapshot.queues
    if queues is None:
        return
    yield f.INBOX_BYTES, (), float(queues.inbox_bytes)
    yield f.INBOX_LIMIT, (), float(queues.inbox_limit_bytes)
    for run, count in queues.batches.items():
        yield f.INBOX_BATCHES, (run,), float(count)
    yield f.SPOOL_BYTES, (), float(queues.spool_bytes)
    yield f.SPOOL_JOURNALS, (), float(queues.spool_journals)


def _machine(snapshot: Snapshot) -> Iterator[Point]:
    by_uuid = {device.uuid: device for device in snapshot.devices}
    for device in snapshot.devices:
        yield (
            f.GPU_INFO,
            (
                device.uuid,
                str(device.index),
                snapshot.node,
                device.name,
                device.pci,
                snapshot.driver or "",
                _mig(device),
            ),
            1.0,
        )
    for scope, values in snapshot.values.items():
        labels = _scope_labels(scope, snapshot, by_uuid)
        if labels is None:
            continue
        for reading, value in values.items():
            metric_name, label = split(reading)
            metric = BY_NAME.get(metric_name)
            if metric is None:
                continue
            named = {**labels, metric.label: label} if metric.label else labels
            family = f.MACHINE[metric_name]
            yield family, tuple(named.get(name, "") for name in family.labels), value * metric.prometheus_scale


def _scope_labels(scope: str, snapshot: Snapshot, by_uuid: dict[str, Device]) -> dict[str, str] | None:
    """The labels that all series of a scope have; None where it is not known (any more) what it is."""
    if scope == HOST:
        return {"node": snapshot.node}
    kind, _, name = scope.partition(":")
    if kind == "gpu":
        device = by_uuid.get(name)
        return None if device is None else {"uuid": name, "gpu": str(device.index), "node": snapshot.node}
    run = snapshot.runs.get(int(name)) if name.isdecimal() else None
    return None if run is None else {"run": run, "node": snapshot.node}


def _mig(device: Device) -> str:
    """ "" for a card, "gpu instance/compute instance" for an instance of one."""
    return "" if device.parent is None else f"{device.gpu_instance}/{device.compute_instance}"
