"""What W&B says of sweeps, asked through the daemon, which holds the key. Each question has a connection of its own, so
that a daemon may be restarted between two.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from client import places
from client.artifacts.remote import checked
from client.errors import UsageError
from client.limits import SWEEP_ASK_TIMEOUT_S
from client.settings import MODES
from client.sweeps.path import SweepPath

Ask = Callable[[str, str, dict[str, Any], float], dict[str, Any]]
"""`connection.ask`: endpoint, kind, arguments, timeout in seconds."""


def check_online() -> None:
    """Raise UsageError where the environment says that W&B is not used."""
    mode = os.environ.get("WANDB_MODE", "online")
    if MODES.get(mode) in ("offline", "disabled"):
        raise UsageError(
            f"sweeps need W&B, which draws the parameters of each run; WANDB_MODE is {mode!r}: unset it, or make the"
            " search yourself with a run for each set of parameters"
        )


@dataclass(frozen=True)
class Made:
    """A new sweep, and where its page is."""

    path: SweepPath
    url: str | None
    warnings: list[str]


@dataclass(frozen=True)
class Described:
    """What a sweep's configuration says of how a trial is run; `state` as in W&B (RUNNING, FINISHED …)."""

    state: str
    program: str | None
    command: list[str] | None


@dataclass(frozen=True)
class Order:
    """One of W&B's commands to an agent: run, resume, stop or exit."""

    kind: str
    run_id: str
    config: dict[str, dict[str, Any]]
    program: str | None


class SweepService:
    """Each question raises NoAnswerError where no daemon answers, CommError where W&B refuses (SweepNotFoundError where
    it knows no such sweep), ValueError for a configuration that cannot be."""

    def __init__(self, endpoint: str | None = None, ask: Ask | None = None) -> None:
        self._endpoint = endpoint or places.endpoint()
        self._through = ask

    def create(
        self, config: dict[str, Any], entity: str | None, project: str | None, prior_runs: list[str] | None
    ) -> Made:
        """Make a sweep."""
        made = self._ask(
            "sweep_create", config=config, entity=entity, project=project, prior_runs=list(prior_runs or ())
        )
        path = SweepPath(made["id"], made.get("entity") or None, made.get("project") or None)
        return Made(path, made.get("url"), list(made.get("warnings") or ()))

    def describe(self, path: SweepPath) -> Described:
        """How the sweep says that it is run."""
        found = self._ask("sweep", **_named(path))
        return Described(str(found.get("state") or ""), found.get("program"), found.get("command"))

    def register(self, path: SweepPath) -> str:
        """Become an agent of the sweep; the agent's id."""
        return str(self._ask("sweep_agent", host=socket.gethostname(), **_named(path))["agent"])

    def heartbeat(self, path: SweepPath, agent: str, running: Iterable[str]) -> list[Order]:
        """Say which runs go on; what to do next."""
        answer = self._ask("sweep_heartbeat", agent=agent, running=list(running), **_named(path))
        return [
            Order(
                str(command.get("type")),
                str(command.get("run_id") or ""),
                dict(command.get("args") or {}),
                command.get("program"),
            )
            for command in answer.get("commands") or ()
        ]

    def _ask(self, op: str, **args: Any) -> dict[str, Any]:
        from client.connection import ask  # zmq: not before it is needed

        return checked((self._through or ask)(self._endpoint, "api", {"op": op, **args}, SWEEP_ASK_TIMEOUT_S))


def _named(path: SweepPath) -> dict[str, Any]:
    return {"sweep": path.sweep, "entity": path.entity, "project": path.project}
