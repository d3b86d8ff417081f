"""W&B's sweeps, asked for clients: make one, look one up, and be an agent of it.

The questions are those of wandb's own agent (CreateAgent, AgentHeartbeat, UpsertSweep), put by `wandb_server`; nothing
of wandb's package is used but PyYAML, which it brings. A sweep's configuration travels as YAML, as W&B keeps it.

A heartbeat tells which runs of the agent go on, and is answered with commands: `run` with an id and parameters,
`resume`, `stop` of a run, `exit`.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any
from urllib.parse import quote

from telemetryd.runs.errors import ServerRefusedError, ServerUnsuitedError
from telemetryd.runs.wandb_server import Server

_UPSERT = """mutation UpsertSweep(
  $config: String, $description: String, $entityName: String, $projectName: String, $priorRunsFilters: JSONString
) {
  upsertSweep(input: {
    config: $config, description: $description, entityName: $entityName, projectName: $projectName,
    priorRunsFilters: $priorRunsFilters
  }) {
    sweep { name project { name entity { name } } }
    configValidationWarnings
  }
}"""
_FIND = """query TelemetrydSweep($entity: String, $project: String, $sweep: String!) {
  project(name: $project, entityName: $entity) { sweep(sweepName: $sweep) { name state config } }
}"""
_REGISTER = """mutation CreateAgent($host: String!, $projectName: String, $entityName: String, $sweep: String!) {
  createAgent(input: {host: $host, projectName: $projectName, entityName: $entityName, sweep: $sweep}) { agent { id } }
}"""
_HEARTBEAT = """mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) { agent { id } commands }
}"""

Answer = dict[str, Any]


class SweepGoneError(Exception):
    """W&B does not know the sweep, or not any more."""


class Sweeps:
    """The questions, by `op`. Each raises ServerError, ValueError for what the caller got wrong, and SweepGoneError."""

    def __init__(self, server: Callable[[], Server]) -> None:
        """`server()` is W&B with the key of now; it raises where there is none."""
        self._server = server
        self.ops: dict[str, Callable[[dict[str, Any]], Answer]] = {
            "sweep_create": self._create,
            "sweep": self._find,
            "sweep_agent": self._register,
            "sweep_heartbeat": self._heartbeat,
        }

    def _create(self, args: Mapping[str, Any]) -> Answer:
        config = args["config"]
        if not isinstance(config, dict):
            raise ValueError("a sweep's configuration is a dict")  # noqa: TRY004 - the client is told a ValueError
        prior = [{"name": str(run)} for run in args.get("prior_runs") or ()]
        server = self._server()
        try:
            made = server.ask(
                _UPSERT,
                {
                    "config": as_yaml(with_distributions(config)),
                    "description": config.get("description"),
                    "entityName": args.get("entity") or None,
                    "projectName": args.get("project") or None,
                    "priorRunsFilters": json.dumps({"$or": prior}) if prior else None,
                },
            )["upsertSweep"]
            name = str(made["sweep"]["name"])
        except ServerRefusedError as error:
            if error.status == 400 and error.said:
                raise ValueError(f"W&B refuses the sweep: {error.said}") from error
            raise
        except (KeyError, TypeError) as error:
            raise ServerUnsuitedError(f"{server.url} makes no sweep: {error!r} is missing in its answer") from error
        project = made["sweep"].get("project") or {}
        entity = str((project.get("entity") or {}).get("name") or args.get("entity") or "")
        named = str(project.get("name") or args.get("project") or "")
        url = f"{app_url(server.url)}/{quote(entity)}/{quote(named)}/sweeps/{quote(name)}" if entity and named else None
        warnings = [str(warning) for warning in made.get("configValidationWarnings") or ()]
        return {"id": name, "entity": entity, "project": named, "url": url, "warnings": warnings}

    def _find(self, args: Mapping[str, Any]) -> Answer:
        variables = {"entity": args.get("entity"), "project": args.get("project"), "sweep": str(args["sweep"])}
        project = self._asked(args, _FIND, variables).get("project")
        found = project.get("sweep") if isinstance(project, dict) else None
        if not isinstance(found, dict):
            raise SweepGoneError(_unknown(args))
        config = read_yaml(str(found.get("config") or ""))
        command = config.get("command")
        return {
            "state": str(found.get("state") or "").upper(),
            "program": None if config.get("program") is None else str(config["program"]),
            "command": [str(part) for part in command] if isinstance(command, list) else None,
        }

    def _register(self, args: Mapping[str, Any]) -> Answer:
        variables = {
            "host": str(args["host"]),
            "entityName": args.get("entity") or None,
            "projectName": args.get("project") or None,
            "sweep": str(args["sweep"]),
        }
        data = self._asked(args, _REGISTER, variables)
        try:
            return {"agent": str(data["createAgent"]["agent"]["id"])}
        except (KeyError, TypeError) as error:
            raise SweepGoneError(_unknown(args)) from error

    def _heartbeat(self, args: Mapping[str, Any]) -> Answer:
        running = {str(run): True for run in args["running"]}
        variables = {"id": str(args["agent"]), "metrics": "{}", "runState": json.dumps(running)}
        data = self._asked(args, _HEARTBEAT, variables)
        try:
            commands = json.loads(data["agentHeartbeat"]["commands"])
            return {"commands": [dict(command) for command in commands]}
        except (KeyError, TypeError, ValueError) as error:
            raise ServerUnsuitedError(f"W&B's answer to a sweep's agent cannot be understood: {error!r}") from error

    def _asked(self, args: Mapping[str, Any], query: str, variables: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._server().ask(query, variables)
        except ServerRefusedError as error:
            if error.status == 404:
                raise SweepGoneError(_unknown(args)) from error
            raise


def _unknown(args: Mapping[str, Any]) -> str:
    where = [str(args[name]) for name in ("entity", "project", "sweep") if args.get(name)]
    return f"W&B does not know the sweep {'/'.join(where)}: was it deleted? It is named ENTITY/PROJECT/SWEEP"


def with_distributions(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the distribution of parameters that have bounds alone, as wandb fills it in.

    Raises ValueError for one whose bounds are of different kinds.
    """
    config = deepcopy(config)
    parameters = config.get("parameters")
    for name, parameter in parameters.items() if isinstance(parameters, dict) else ():
        if not isinstance(parameter, dict) or "distribution" in parameter or not {"min", "max"} <= parameter.keys():
            continue
        bounds = {type(parameter["min"]), type(parameter["max"])}
        if bounds == {int}:
            parameter["distribution"] = "int_uniform"
        elif bounds == {float}:
            parameter["distribution"] = "uniform"
        else:
            raise ValueError(
                f"Parameter {name} is ambiguous, please specify bounds as both floats (for a float_uniform"
                " distribution) or ints (for an int_uniform distribution)."
            )
    return config


def as_yaml(config: dict[str, Any]) -> str:
    """The configuration as W&B keeps it. A text like "008" is quoted, as wandb does: other readers take it for a
    number. Raises TypeError for what JSON does not know."""
    yaml = _yaml()

    def represent(dumper: Any, value: str) -> Any:
        style = "'" if value.startswith("0") and len(value) > 1 else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)

    dumper: Any = type("Dumper", (yaml.SafeDumper,), {})
    dumper.add_representer(str, represent)
    return str(yaml.dump(json.loads(json.dumps(config)), Dumper=dumper, sort_keys=False))


def read_yaml(text: str) -> dict[str, Any]:
    """A configuration; empty where it is none."""
    yaml = _yaml()
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return config if isinstance(config, dict) else {}


def _yaml() -> Any:
    return importlib.import_module("yaml")  # it has no types


def app_url(server_url: str) -> str:
    """Where W&B's pages are, by the address of its server."""
    url = server_url.rstrip("/")
    return "https://wandb.ai" if "://api.wandb.ai" in url else url.replace("://api.", "://app.")
