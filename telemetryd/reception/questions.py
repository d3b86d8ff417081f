"""Answers to Asks, and how a run is told in a Report. SPEC.md lists the questions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from client.protocol.messages import Hello, Report, RunSpec
from telemetryd.health.counters import Counters
from telemetryd.health.deliveries import Deliveries
from telemetryd.health.events import Events
from telemetryd.health.status import Health
from telemetryd.inbox.artifacts import Artifacts
from telemetryd.inbox.ledger import Ledger, RunAccount
from telemetryd.inbox.progress import Progress
from telemetryd.limits import (
    ANSWER_ARTIFACTS_MAX,
    ANSWER_FOLLOWED_MAX,
    ANSWER_PROCESSES_MAX,
    ANSWER_RUNS_MAX,
    ARTIFACT_LISTED,
    STATUS_FINISHED_RUNS,
    STRAGGLER_OVER_SHARE,
)


class _RunView(msgspec.Struct):
    """What a report tells of a run, as it stands in its RunSpec or, once it has started, in the worker's Started."""

    mode: str = "online"
    directory: str | None = None
    url: str | None = None
    name: str | None = None
    entity: str | None = None
    project: str | None = None
    resumed: bool = False
    starting_step: int = 0


_spec = _started = msgspec.msgpack.Decoder(_RunView)


KINDS = ("ping", "status", "run", "launch", "node", "artifacts", "retire")

_decode_hello = msgspec.msgpack.Decoder(Hello).decode
_encode = msgspec.msgpack.Encoder().encode

SAMPLING_SETTINGS = (
    "x_disable_stats",
    "x_label",
    "x_stats_disk_paths",
    "x_stats_sampling_interval",
    "x_stats_track_process_tree",
)
"""What of a run's settings matters to who samples its machine."""


class QuestionError(Exception):
    """There is no answer; the message says why."""


class Questions:
    """What the daemon can say about itself. `identity` is the answer to `ping`; `retire` is called on that Ask."""

    def __init__(
        self,
        ledger: Ledger,
        progress: Progress,
        artifacts: Artifacts,
        health: Health,
        counters: Counters,
        deliveries: Deliveries,
        events: Events,
        identity: dict[str, Any],
        retire: Callable[[], None],
        machine: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._ledger = ledger
        self._progress = progress
        self._artifacts = artifacts
        self._health = health
        self._counters = counters
        self._deliveries = deliveries
        self._events = events
        self._identity = identity
        self._retire = retire
        self._machine = machine

    def answer(self, kind: str, args: dict[str, Any]) -> dict[str, Any]:
        """The result of a question. Raises QuestionError, and InboxError when the inbox cannot be read."""
        if kind == "ping":
            return dict(self._identity)
        if kind == "status":
            return self.status(processes=args.get("processes") is not False)
        if kind == "run":
            return self._run(_text(args, "key"))
        if kind == "launch":
            return self._launch(_text(args, "launch"))
        if kind == "node":
            return self._node(_text(args, "host"), args.get("sessions"))
        if kind == "artifacts":
            return self._artifacts_of(_text(args, "session"), args.get("ids"))
        if kind == "retire":
            self._retire()
            return {}
        raise QuestionError(f"unknown question {kind[:40]!r}: this daemon answers {', '.join(KINDS)}")

    def status(self, *, processes: bool = True, followed: int = ANSWER_FOLLOWED_MAX) -> dict[str, Any]:
        """What `telemetryd status --json` prints; with each run's processes, and with the newest row, the lag and the
        machine's values of so many runs, those under way first. Raises InboxError."""
        total = self._ledger.total()
        runs = self._ledger.listed(STATUS_FINISHED_RUNS)[-ANSWER_RUNS_MAX:]
        machine = self._machine()
        of_runs = machine.pop("runs", {})
        room = ANSWER_PROCESSES_MAX if processes else 0
        first = sorted(runs, key=lambda run: (run.state == "finished", -run.run_id))[:followed]
        to_follow = {run.run_id for run in first}
        maps = []
        for run in reversed(runs):
            maps.append(self._run_map(run, room))
            room -= len(maps[-1]["processes"])
            if run.run_id in to_follow:
                maps[-1] |= self._followed(run)
                maps[-1] |= {"machine": values} if (values := of_runs.get(str(run.run_id))) else {}
        maps.reverse()
        return {
            "daemon": dict(self._identity),
            "offered": total.offered,
            "delivered": total.delivered,
            "dropped": total.dropped,
            "pending": total.pending,
            "late": total.late,
            "media_lost": total.media_lost,
            "runs": maps,
            "artifacts": self._artifacts_map(),
            "sessions": self._progress.count_open_sessions(),
            "counters": self._counters.as_map(),
            "components": self._health.as_map(),
            "events": self._events.as_list(),
            "health": self._events.health_map(),
            "machine": machine,
        }

    def _artifacts_map(self) -> dict[str, Any]:
        """How many artifacts are in each state, and those that a person may want to know of."""
        listed = [
            {
                "name": standing.name,
                "kind": standing.kind,
                "state": standing.state,
                "size_bytes": standing.size_bytes,
                "error": standing.error,
            }
            for standing in self._artifacts.listed(ARTIFACT_LISTED)
        ]
        return {"counts": self._artifacts.counts(), "listed": listed}

    def _artifacts_of(self, session: str, ids: Any) -> dict[str, Any]:
        """How a session's artifacts stand; those that this daemon has not heard of yet are left out."""
        if not isinstance(ids, list):
            raise QuestionError("the question needs 'ids', a list")
        found = [self._artifacts.standing(session, str(identity)) for identity in ids[:ANSWER_ARTIFACTS_MAX]]
        return {
            "artifacts": {
                standing.id: {"state": standing.state, "error": standing.error, "info": standing.info}
                for standing in found
                if standing is not None
            }
        }

    def _run(self, key: str) -> dict[str, Any]:
        run = self._ledger.run_by_key(key)
        if run is None:
            raise QuestionError(f"this daemon has no run {key[:200]!r}")
        return {**self._run_map(run, ANSWER_PROCESSES_MAX), **self._followed(run)}

    def _launch(self, launch: str) -> dict[str, Any]:
        runs = self._ledger.of_launch(launch)[-ANSWER_RUNS_MAX:]
        maps = [self._run_map(run, 0) for run in runs]
        settled = self._ledger.open_sessions_of_launch(launch) == 0 and all(
            run.state == "finished" and run.account.pending == 0 for run in runs
        )
        return {"runs": maps, "settled": settled}

    def _node(self, host: str, sessions: Any) -> dict[str, Any]:
        """What a further machine has to sample: the open runs whose training processes are on it, known by the host's
        name or by their journals in its spool."""
        in_spool = {str(session) for session in sessions} if isinstance(sessions, list) else set()
        runs: dict[int, dict[str, Any]] = {}
        room = ANSWER_PROCESSES_MAX
        for run_id, key, encoded in self._progress.training_sessions():
            origin = _decode_session(encoded)
            if not room or not (origin.host == host or origin.session in in_spool):
                continue
            room -= 1
            if run_id not in runs:
                nodes = len(self._progress.hosts_training_for(run_id))
                runs[run_id] = {"run": run_id, "key": key, "nodes": nodes, "hellos": [], **self._slow(run_id)}
            runs[run_id]["hellos"].append(_encode(_shortened(_decode_hello(encoded))))
        daemon = {name: self._identity.get(name) for name in ("host", "boot_id", "sampling")}
        return {"runs": list(runs.values()), **daemon}

    def _slow(self, run_id: int) -> dict[str, int]:
        """The rank of a run that is slower than all others, where one is."""
        figures = self._deliveries.ranks(run_id)
        rank = figures.get("slowest")
        return {} if rank is None or figures.get("slower_by", 0.0) < STRAGGLER_OVER_SHARE else {"slow": rank}

    def _run_map(self, run: RunAccount, processes: int) -> dict[str, Any]:
        """A run with its newest `processes`."""
        report = msgspec.structs.asdict(self.report("", run))
        del report["session"]
        found = self._ledger.processes(run.run_id, processes) if processes > 0 else []
        told = {"key": run.key, **report, "processes": [process.as_map() for process in found]}
        if ranks := self._deliveries.ranks(run.run_id):
            told["ranks"] = ranks
        return told

    def _followed(self, run: RunAccount) -> dict[str, Any]:
        """What those tell of a run who watch it: its newest row, and how far behind delivery is."""
        newest = self._deliveries.newest(run.run_id)
        return {"step": newest.step, "newest": newest.values, "lag_s": self._lag_s(run)}

    def _lag_s(self, run: RunAccount) -> float | None:
        """The age of the run's oldest row that is not confirmed; 0 without one, None where it cannot be told."""
        if run.account.pending <= 0:
            return 0.0
        oldest_ns = self._ledger.oldest_waiting_ns(run.run_id)
        return None if oldest_ns is None else max(0.0, round((time.time_ns() - oldest_ns) / 1e9, 3))

    def report(self, session: str, run: RunAccount) -> Report:
        """How a run stands, for a session that writes to it."""
        account = run.account
        delivery = self._deliveries.get(run.run_id)
        started = _started.decode(run.started) if run.started else None
        named = started or _spec.decode(run.spec)
        return Report(
            session,
            state="finished" if run.state == "finished" else delivery.state,
            offered=account.offered,
            delivered=account.delivered,
            pending=account.pending,
            dropped=account.dropped,
            late=account.late,
            mode=named.mode,
            directory=started.directory if started else None,
            url=named.url,
            name=named.name,
            entity=named.entity,
            project=named.project,
            resumed=named.resumed,
            starting_step=named.starting_step if started else None,
            trouble=None if run.state == "finished" else delivery.trouble,
            exit_code=run.exit_code,
            stop_requested=self._deliveries.stop_requested(run.run_id),
            media_lost=account.media_lost,
        )


class _Session(msgspec.Struct):
    """Of a Hello: whose it is."""

    session: str
    host: str = ""


_decode_session = msgspec.msgpack.Decoder(_Session).decode


def _shortened(hello: Hello) -> Hello:
    """What a sampler must know of a training process; no config, nothing of what it runs."""
    spec = hello.run
    if spec is not None:
        settings = {name: spec.settings[name] for name in SAMPLING_SETTINGS if name in spec.settings}
        told = {"environ": spec.metadata["environ"]} if "environ" in spec.metadata else {}
        spec = RunSpec(
            spec.run_id, spec.entity, spec.project, directory=spec.directory, settings=settings, metadata=told
        )
    return msgspec.structs.replace(hello, run=spec)


def _text(args: dict[str, Any], name: str) -> str:
    value = args.get(name)
    if not isinstance(value, str):
        raise QuestionError(f"the question needs {name!r}, a text")
    return value
