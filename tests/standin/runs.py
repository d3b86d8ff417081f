"""Runs: made and changed by UpsertBucket, read by resuming SDKs and by wandb.Api.

A run's document is kept under "entity/project/id". Its state is `running` until file_stream brings an exit code
(0 finished, else failed); running and silent for limits.CRASHED_AFTER_S reads as crashed; an UpsertBucket by name
reopens a run that had ended, as resuming does.
"""

from __future__ import annotations

import base64
import json
import time
from datetime import datetime, timezone

from . import limits
from .graphql import GraphQLError, Node, connection
from .store import Doc, Store

HISTORY, EVENTS, OUTPUT, SUMMARY = "wandb-history.jsonl", "wandb-events.jsonl", "output.log", "wandb-summary.json"
#: What W&B calls the types of logged values; all others are numbers.
_KINDS = {"str": "string", "dict": "map", "list": "list"}
_TERMINAL = ("finished", "failed", "crashed", "killed", "preempted")


def iso(at_s: float) -> str:
    """A time in seconds since 1970 as W&B writes it."""
    return datetime.fromtimestamp(at_s, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def node_id(*parts: str) -> str:
    """An opaque id as W&B's: base64 of the parts joined by colons."""
    return base64.b64encode(":".join(parts).encode()).decode()


def id_parts(opaque: str) -> list[str]:
    """The parts of node_id(); [] for anything else."""
    try:
        return base64.b64decode(opaque, validate=True).decode().split(":")
    except ValueError:
        return []


def output_line(text: str) -> Doc:
    """A line of output.log: {"ts", "content", "level"?}; JSON where the server has STRUCTURED_CONSOLE_LOGS."""
    try:
        line = json.loads(text)
        if isinstance(line, dict) and "content" in line:
            return {"ts": "", **line}
    except ValueError:
        pass  # the plain form: "ERROR " for stderr, a time stamp, the line
    stamp, _, content = text.removeprefix("ERROR ").partition(" ")
    return {"ts": stamp, "content": content, **({"level": "error"} if text.startswith("ERROR ") else {})}


def project_node(entity: str, project: str) -> Node:
    """A project as other nodes show it."""
    owner = {"__typename": "Entity", "id": node_id("Entity", entity), "name": entity}
    return {"__typename": "Project", "id": node_id("Project", project, entity), "name": project, "entityName": entity,
            "internalId": node_id("ProjectInternalId", "1"), "entity": owner}  # fmt: skip


class Runs:
    """The runs of the store, and their part of the graph."""

    def __init__(self, store: Store, default_entity: str):
        self.store = store
        self.default_entity = default_entity
        self.crashed_after_s = limits.CRASHED_AFTER_S

    def key(self, entity: str | None, project: str | None, run: str) -> str:
        """The run's key; entity and project may be missing as the SDK leaves them out."""
        return f"{entity or self.default_entity}/{project or 'uncategorized'}/{run}"

    def find(self, key: str) -> Doc | None:
        """The run's document by key, or by its id alone when there is but one such run."""
        if key.count("/") == 2:
            return self.store.get("run", key)
        found = [doc for doc in self.store.all("run") if doc["name"] == key]
        return found[0] if len(found) == 1 else None

    def save(self, doc: Doc) -> None:
        """Write the document back."""
        self.store.put("run", doc["key"], doc)

    def state(self, doc: Doc) -> str:
        """The state as W&B shows it, crashed included."""
        if time.time() - doc["heartbeat_at"] > self.crashed_after_s:
            return {"running": "crashed", "preempting": "preempted"}.get(str(doc["state"]), str(doc["state"]))
        return str(doc["state"])

    def create(self, key: str) -> Doc:
        """A new run's document (saved)."""
        entity, project, name = key.split("/")
        now = time.time()
        doc: Doc = {
            "key": key, "entity": entity, "project": project, "name": name,
            "id": node_id("Run", "v1", name, project, entity),
            "created_at": now, "heartbeat_at": now, "state": "running", "displayName": name, "config": {},
            "summary": {}, "group": None, "jobType": None, "tags": [], "notes": None, "description": None, "host": None,
            "program": None, "commit": None, "repo": None, "sweep": None, "exit_code": None, "stop_requested": False,
            "alerts": [], "files": {}, "used": [], "upserts": 0, "resumes": 0,
        }  # fmt: skip
        self.save(doc)
        return doc

    # mutations

    def upsert_bucket(self, arguments: Node) -> Node:
        """UpsertBucket: make or change a run, by name and project or by storage id."""
        given = arguments["input"]
        with self.store.change():
            key = self._given_key(given)
            doc = self.store.get("run", key)
            inserted = doc is None
            doc = doc or self.create(key)
            if given.get("name") and doc["state"] in _TERMINAL:
                doc.update(state="running", exit_code=None, stop_requested=False, resumes=doc["resumes"] + 1)
            self._apply(doc, given)
            doc["upserts"] += 1
            doc["heartbeat_at"] = time.time()
            self.save(doc)
        return {"__typename": "UpsertBucketPayload", "bucket": self.node(doc), "inserted": inserted}

    def _given_key(self, given: Node) -> str:
        parts = id_parts(given.get("id") or "")
        if parts[:2] == ["Run", "v1"]:
            return f"{parts[4]}/{parts[3]}/{parts[2]}"
        name = str(given.get("name") or given.get("id") or f"{time.time_ns():x}"[-8:])
        if "/" in name or not given.get("modelName", "x"):
            raise GraphQLError("invalid run name or project", 400)
        return self.key(given.get("entityName"), given.get("modelName"), name)

    @staticmethod
    def _apply(doc: Doc, given: Node) -> None:
        names = {"groupName": "group", "jobProgram": "program", "jobRepo": "repo"}
        for name in ("groupName", "description", "displayName", "notes", "commit", "host", "jobProgram", "jobRepo",
                     "jobType", "state", "sweep", "tags"):  # fmt: skip
            if given.get(name) is not None:
                doc[names.get(name, name)] = given[name]
        if given.get("config"):
            doc["config"] = json.loads(given["config"])
        if given.get("summaryMetrics"):
            doc["summary"] = json.loads(given["summaryMetrics"])

    def _by_id(self, opaque: str) -> Doc:
        parts = id_parts(opaque)
        doc = self.store.get("run", f"{parts[4]}/{parts[3]}/{parts[2]}") if len(parts) == 5 else None
        if doc is None:
            raise GraphQLError("run not found", 404)
        return doc

    def stop_run(self, arguments: Node) -> Node:
        """StopRun: the stop button. The run learns of it in its next file_stream answer."""
        doc = self._by_id(arguments["input"]["id"])
        self.save({**doc, "stop_requested": True})
        return {"__typename": "StopRunPayload", "success": True}

    def update_state(self, arguments: Node) -> Node:
        """UpdateRunState: to pending or failed by hand."""
        self.save({**self._by_id(arguments["input"]["id"]), "state": arguments["input"]["state"]})
        return {"__typename": "UpdateRunStatePayload", "success": True}

    def delete_run(self, arguments: Node) -> Node:
        """DeleteRun: the run and its lines are gone."""
        doc = self._by_id(arguments["input"]["id"])
        with self.store.change():
            self.store.delete("run", doc["key"])
            self.store.drop_lines(doc["key"])
        return {"__typename": "DeleteRunPayload", "clientMutationId": None}

    def alert(self, arguments: Node) -> Node:
        """NotifyScriptableRunAlert: remembered with the run."""
        given = arguments["input"]
        with self.store.change():
            key = self.key(given.get("entityName"), given.get("projectName"), given["runName"])
            doc = self.store.get("run", key)
            if doc is None:
                raise GraphQLError(f"run {key} not found", 404)
            names = ("title", "text", "severity", "waitDuration")
            doc["alerts"].append({**{name: given.get(name) for name in names}, "at": time.time()})
            self.save(doc)
        return {"__typename": "NotifyScriptableRunAlertPayload", "success": True}

    def rewind(self, arguments: Node) -> Node:
        """RewindRun: the history after a step leaves the run, and is kept apart; there must be such a step."""
        given = arguments["input"]
        key = self.key(given.get("entityName"), given.get("projectName"), given["runName"])
        doc = self.store.get("run", key)
        if doc is None:
            raise GraphQLError(f"run {key} not found", 404)
        lines = [(at, json.loads(text)) for at, text in self.store.lines(key, HISTORY)]
        if not any(row.get(given["metricName"], -1) >= given["metricValue"] for _, row in lines):
            raise GraphQLError(f"run {key} has no {given['metricName']} {given['metricValue']}", 400)
        beyond = [at for at, row in lines if row.get(given["metricName"], 0) > given["metricValue"]]
        doc.setdefault("archived", []).append([row for at, row in lines if beyond and at >= beyond[0]])
        doc.update(heartbeat_at=time.time(), resumes=doc["resumes"] + 1, state="running", exit_code=None)
        self.save(doc)
        if beyond:
            self.store.drop_lines(key, HISTORY, beyond[0])
        return {"__typename": "RewindRunPayload", "rewoundRun": self.node(doc)}

    # the graph

    def rows(self, key: str, stream: str = HISTORY) -> list[Doc]:
        """The lines of history or events, parsed, in order of offset."""
        return [json.loads(text) for _, text in self.store.lines(key, stream)]

    def tail(self, key: str, stream: str) -> str:
        """The last line as the JSON list of JSON strings which RunResumeStatus carries."""
        count = self.store.line_count(key, stream)
        return json.dumps([text for _, text in self.store.lines(key, stream, max(0, count - limits.TAIL_LINES))])

    def history_keys(self, key: str) -> Doc:
        """What W&B says of a run's metrics: lastStep, and per key how often and of which type."""
        keys: dict[str, Doc] = {}
        last = -1
        for row in self.rows(key):
            last = max(last, int(row.get("_step", last + 1)))
            for name, value in row.items():
                kind = _KINDS.get(type(value).__name__, "number")
                about = keys.setdefault(name, {"typeCounts": [{"type": kind, "count": 0}], "monotonic": False})
                about["typeCounts"][0]["count"] += 1
                about["previousValue"] = value
        return {"lastStep": last, "keys": keys, "sets": []}

    def sampled(self, key: str, spec: str) -> list[Doc]:
        """Rows from minStep to maxStep, both included, with all the spec's keys; at most `samples`, evenly taken."""
        wanted = json.loads(spec) if isinstance(spec, str) else spec
        keys = wanted.get("keys") or []
        low, high = wanted.get("minStep") or 0, wanted.get("maxStep") or 1 << 62
        rows = [
            row for row in self.rows(key) if low <= row.get("_step", 0) <= high and all(name in row for name in keys)
        ]
        rows = [{name: row[name] for name in keys} if keys else row for row in rows]
        every = max(1, -(-len(rows) // max(1, int(wanted.get("samples") or 500))))
        return rows[::every]

    def _last(self, key: str, stream: str) -> str | None:
        count = self.store.line_count(key, stream)
        return next((text for _, text in self.store.lines(key, stream, count - 1)), None)

    def _samples(self, key: str, specs: str | list[str]) -> list[list[Doc]]:
        return [self.sampled(key, spec) for spec in ([specs] if isinstance(specs, str) else specs)]

    def _history(self, key: str, arguments: Node, stream: str = HISTORY) -> list[str]:
        low, high = int(arguments.get("minStep") or 0), arguments.get("maxStep")
        texts = [text for _, text in self.store.lines(key, stream)]
        if high is not None or low:
            texts = [
                t for t in texts if low <= json.loads(t).get("_step", 0) < int(high if high is not None else 1 << 62)
            ]
        return texts[: int(arguments.get("samples") or len(texts))]

    @staticmethod
    def _wandb_config(doc: Doc, arguments: Node) -> Doc:
        """The SDK's own part of the config; without "t" a resuming SDK takes the run as not begun."""
        own = (doc["config"].get("_wandb") or {}).get("value") or {}
        return {name: own[name] for name in arguments.get("keys") or own if name in own}

    def _log_lines(self, key: str, arguments: Node) -> Node:
        nodes = []
        for at, text in self.store.lines(key, OUTPUT):
            line = output_line(text)
            nodes.append({"__typename": "LogLine", "number": at, "timestamp": line["ts"], "level": line.get("level"),
                          "label": line.get("label", ""), "line": line["content"]})  # fmt: skip
        return connection("LogLine", nodes, arguments)

    def node(self, doc: Doc) -> Node:
        """The run as a node of the graph (files and artifacts are added by their own modules through schema)."""
        key = doc["key"]
        state = self.state(doc)
        return {
            "__typename": "Run", "id": doc["id"], "name": doc["name"], "displayName": doc["displayName"],
            "description": doc["description"], "notes": doc["notes"], "tags": doc["tags"], "group": doc["group"],
            "jobType": doc["jobType"], "commit": doc["commit"], "host": doc["host"], "readOnly": False, "state": state,
            "createdAt": iso(doc["created_at"]), "heartbeatAt": iso(doc["heartbeat_at"]), "exitcode": doc["exit_code"],
            "shouldStop": doc["stop_requested"], "stopped": doc["stop_requested"], "running": state == "running",
            "failed": state in ("failed", "crashed"), "sweepName": doc["sweep"],
            "project": project_node(doc["entity"], doc["project"]),
            "projectId": "1", "config": json.dumps(doc["config"]), "summaryMetrics": json.dumps(doc["summary"]),
            "wandbConfig": lambda a: json.dumps(self._wandb_config(doc, a)),
            "systemMetrics": lambda a: self._last(key, EVENTS),
            "historyLineCount": lambda a: self.store.line_count(key, HISTORY),
            "eventsLineCount": lambda a: self.store.line_count(key, EVENTS),
            "logLineCount": lambda a: self.store.line_count(key, OUTPUT),
            "historyTail": lambda a: self.tail(key, HISTORY), "eventsTail": lambda a: self.tail(key, EVENTS),
            "historyKeys": lambda a: self.history_keys(key), "history": lambda a: self._history(key, a),
            "events": lambda a: self._history(key, a, EVENTS), "logLines": lambda a: self._log_lines(key, a),
            "sampledHistory": lambda a: self._samples(key, a["specs"]),
            "parquetHistory": lambda a: {"__typename": "ParquetHistory", "parquetUrls": [], "liveData": self.rows(key)},
            "user": {"__typename": "User", "id": node_id("User", "standin"), "name": "standin", "username": "standin"},
        }  # fmt: skip
