"""Sweeps: a configuration, a simple controller (grid, random; bayes is answered as random), agents and their orders.

An agent's heartbeat brings the states of its runs and takes commands: `run` with the next parameters when it has
nothing running, `stop` for a run whose stop was requested, `exit` when the parameters are used up or the sweep was
cancelled. Parameters may be nested as W&B allows; a random sweep is drawn from a seed made of its id.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import time
import uuid
from typing import Any

from .graphql import GraphQLError, Node, connection
from .runs import Runs, iso, node_id, project_node
from .store import Doc


def read_config(text: str) -> Doc:
    """A sweep's configuration from JSON, or from YAML where PyYAML is installed (wandb brings it)."""
    try:
        return dict(json.loads(text))
    except ValueError:
        import yaml  # type: ignore[import-untyped,unused-ignore]

        return dict(yaml.safe_load(text))


def _choices(spec: Doc) -> list[Any]:
    if "value" in spec:
        return [spec["value"]]
    if "values" in spec:
        return list(spec["values"])
    if isinstance(spec.get("min"), int) and isinstance(spec.get("max"), int):
        return list(range(spec["min"], spec["max"] + 1))
    raise GraphQLError(f"a grid sweep needs value, values, or integer min and max: {spec}", 400)


def grid(parameters: Doc) -> list[Doc]:
    """Every combination, the last parameter changing fastest."""
    columns = []
    for name, spec in parameters.items():
        nested = spec.get("parameters")
        columns.append([(name, value) for value in (grid(nested) if nested else _choices(spec))])
    return [dict(combination) for combination in itertools.product(*columns)]


def draw(parameters: Doc, dice: random.Random) -> Doc:
    """One random combination: value, values with probabilities, (q_)(log_)uniform and normal by their bounds."""
    drawn: Doc = {}
    for name, spec in parameters.items():
        if "parameters" in spec:
            drawn[name] = draw(spec["parameters"], dice)
        elif "value" in spec or "values" in spec:
            drawn[name] = dice.choices(_choices(spec), spec.get("probabilities"))[0]
        elif "mu" in spec:
            drawn[name] = dice.gauss(spec["mu"], spec.get("sigma", 1.0))
        elif isinstance(spec["min"], int) and isinstance(spec["max"], int):
            drawn[name] = dice.randint(spec["min"], spec["max"])
        elif spec.get("distribution") == "log_uniform_values":
            drawn[name] = math.exp(dice.uniform(math.log(spec["min"]), math.log(spec["max"])))
        else:
            drawn[name] = dice.uniform(spec["min"], spec["max"])
    return drawn


class Sweeps:
    """The sweeps of the store, and their part of the graph."""

    def __init__(self, runs: Runs):
        self.runs = runs
        self.store = runs.store

    def find(self, name: str) -> Doc | None:
        """By short name or by opaque id."""
        found = self.store.get("sweep", name)
        return found or next((doc for doc in self.store.all("sweep") if doc["id"] == name), None)

    def upsert(self, arguments: Node) -> Node:
        """UpsertSweep: make one from a configuration, or change its state."""
        given = arguments["input"]
        with self.store.change():
            doc = self.find(given.get("id") or "")
            if doc is None:
                if not given.get("config"):
                    raise GraphQLError("sweep not found", 404)
                name = uuid.uuid4().hex[:8]
                doc = {
                    "name": name, "id": node_id("Sweep", name),
                    "entity": given.get("entityName") or self.runs.default_entity,
                    "project": given.get("projectName") or "uncategorized", "state": "PENDING", "drawn": 0,
                    "created_at": time.time(), "config": "{}", "displayName": None, "description": None,
                    "controller": None,
                }  # fmt: skip
            for field in ("config", "state", "displayName", "description", "controller"):
                doc[field] = given.get(field) or doc[field]
            read_config(doc["config"])
            self.store.put("sweep", doc["name"], doc)
        return {"__typename": "UpsertSweepPayload", "sweep": self.node(doc), "configValidationWarnings": []}

    def create_agent(self, arguments: Node) -> Node:
        """CreateAgent: one process that will run what it is told."""
        given = arguments["input"]
        doc = self.find(given["sweep"])
        if doc is None:
            raise GraphQLError(f"sweep {given['sweep']} not found", 404)
        name = uuid.uuid4().hex[:8]
        agent = {"name": name, "id": node_id("Agent", name), "sweep": doc["name"], "host": given.get("host"),
                 "runs": [],
                 "created_at": time.time(), "heartbeat_at": time.time()}  # fmt: skip
        with self.store.change():
            self.store.put("agent", agent["id"], agent)
            if doc["state"] == "PENDING":
                self.store.put("sweep", doc["name"], {**doc, "state": "RUNNING"})
        return {"__typename": "CreateAgentPayload", "agent": self._agent_node(agent)}

    def heartbeat(self, arguments: Node) -> Node:
        """AgentHeartbeat: run states in, commands (a JSON text) out."""
        given = arguments["input"]
        with self.store.change():
            agent = self.store.get("agent", given["id"])
            sweep = self.store.get("sweep", agent["sweep"]) if agent else None
            if agent is None or sweep is None:
                raise GraphQLError("agent or sweep not found", 404)
            running = json.loads(given.get("runState") or "{}")
            commands = self._commands(sweep, agent, [name for name, alive in running.items() if alive])
            agent["heartbeat_at"] = time.time()
            self.store.put("agent", agent["id"], agent)
            self.store.put("sweep", sweep["name"], sweep)
        return {
            "__typename": "AgentHeartbeatPayload",
            "agent": self._agent_node(agent),
            "commands": json.dumps(commands),
        }

    def _commands(self, sweep: Doc, agent: Doc, running: list[str]) -> list[Doc]:
        stops = []
        for name in running:
            run = self.store.get("run", f"{sweep['entity']}/{sweep['project']}/{name}")
            if sweep["state"] == "CANCELED" or (run and run["stop_requested"]):
                stops.append({"type": "stop", "run_id": name})
        if running or sweep["state"] == "PAUSED":
            return stops
        following = self._next(sweep) if sweep["state"] in ("PENDING", "RUNNING") else None
        if following is None:
            if sweep["state"] in ("PENDING", "RUNNING"):
                sweep["state"] = "FINISHED"
            return [{"type": "exit"}]
        run_id = uuid.uuid4().hex[:8]
        agent["runs"].append(run_id)
        key = f"{sweep['entity']}/{sweep['project']}/{run_id}"
        doc = self.runs.create(key)
        arguments = {name: {"value": value} for name, value in following.items()}
        self.runs.save({**doc, "state": "pending", "sweep": sweep["name"], "config": arguments})
        return [
            {"type": "run", "run_id": run_id, "program": read_config(sweep["config"]).get("program"), "args": arguments}
        ]

    def _next(self, sweep: Doc) -> Doc | None:
        config = read_config(sweep["config"])
        parameters, drawn = config.get("parameters") or {}, sweep["drawn"]
        if drawn >= config.get("run_cap", math.inf):
            return None
        sweep["drawn"] = drawn + 1
        if config.get("method", "random") == "grid":
            combinations = grid(parameters)
            return combinations[drawn] if drawn < len(combinations) else None
        return draw(parameters, random.Random(f"{sweep['name']}/{drawn}"))

    def runs_of(self, sweep: Doc) -> list[Doc]:
        """The runs that belong to the sweep, oldest first."""
        prefix = f"{sweep['entity']}/{sweep['project']}/"
        return [run for run in self.store.all("run", prefix) if run["sweep"] == sweep["name"]]

    def _agent_node(self, agent: Doc) -> Node:
        return {"__typename": "Agent", "id": agent["id"], "name": agent["name"], "host": agent["host"],
                "state": "RUNNING",
                "totalRuns": len(agent["runs"]), "createdAt": iso(agent["created_at"]),
                "heartbeatAt": iso(agent["heartbeat_at"])}  # fmt: skip

    def node(self, doc: Doc) -> Node:
        """The sweep as a node of the graph."""
        config = read_config(doc["config"])
        is_grid = config.get("method") == "grid"
        return {
            "__typename": "Sweep", "id": doc["id"], "name": doc["name"], "state": doc["state"], "config": doc["config"],
            "displayName": doc["displayName"] or config.get("name") or doc["name"], "method": config.get("method"),
            "description": doc["description"], "createdAt": iso(doc["created_at"]), "updatedAt": iso(doc["created_at"]),
            "heartbeatAt": iso(doc["created_at"]), "bestLoss": None, "controller": doc["controller"], "scheduler": None,
            "controllerRunName": None, "earlyStopJobRunning": False,
            "runCount": lambda a: len(self.runs_of(doc)),
            "runCountExpected": len(grid(config.get("parameters") or {})) if is_grid else None,
            "runs": lambda a: connection("Run", [self.runs.node(run) for run in self.runs_of(doc)], a),
            "project": project_node(doc["entity"], doc["project"]),
        }  # fmt: skip
