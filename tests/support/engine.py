"""Containers in tests: the engine there is, the project's images, and docker-compose.yml as projects of their own.

Whatever a test brings up is gone at its end, volumes and networks with it. Containers are looked at through the
engine's command line, as a user would.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.docs.markdown import ROOT
from tests.support.processes import wait_until
from tests.support.requirements import require

FOR_TESTS = ROOT / "tests" / "containers" / "compose.yml"
BUILD_DEADLINE_S = 1500.0
"""torch and its like are downloaded, on two busy cores."""

COMMAND_DEADLINE_S = 400.0
"""Starting waits for health checks, stopping for grace periods."""

USER = 10001


def require_engine() -> None:
    """Skips the calling test where no container engine with compose is to be had."""
    require(shutil.which("docker"), "a container engine (docker)")
    for command in (["docker", "version"], ["docker", "compose", "version"]):
        tried = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        require(tried.returncode == 0, f"a container engine: {' '.join(command)} says {tried.stderr.strip()}")


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    timeout_s: float = COMMAND_DEADLINE_S,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """A command's outcome. With `check`, raises AssertionError with what it said when it fails."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "TELEMETRYD_"))}
    ran = subprocess.run(
        [str(part) for part in command],
        env={**environ, **(env or {})},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )
    if check:
        assert ran.returncode == 0, f"{command} ended with {ran.returncode}\n{ran.stdout[-6000:]}\n{ran.stderr[-6000:]}"
    return ran


def docker(*arguments: str | Path, timeout_s: float = COMMAND_DEADLINE_S, check: bool = True) -> str:
    """What a docker command prints. Raises AssertionError when it fails."""
    return run(["docker", *arguments], timeout_s=timeout_s, check=check).stdout.strip()


def inspect(name: str) -> dict[str, Any]:
    """What the engine knows of a container."""
    (found,) = json.loads(docker("inspect", name))
    return dict(found)


class Project:
    """docker-compose.yml as a project with a name of its own. `files`: further override files."""

    def __init__(self, *files: Path, env: Mapping[str, str] | None = None, standin: bool = False) -> None:
        self.name = f"td{secrets.token_hex(4)}"
        self.env = dict(env or {})
        self._options: list[str | Path] = ["--project-name", self.name, "--project-directory", ROOT]
        for file in (ROOT / "docker-compose.yml", FOR_TESTS, *files):
            self._options += ["--file", file]
        if standin:
            self._options += ["--env-file", ROOT / "deploy" / "docker" / "standin.env", "--profile", "standin"]

    def compose(
        self, *arguments: str | Path, timeout_s: float = COMMAND_DEADLINE_S, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker compose`."""
        command = ["docker", "compose", *self._options, *arguments]
        return run(command, env=self.env, timeout_s=timeout_s, check=check)

    def container(self, service: str) -> str:
        """The name of a service's container."""
        return f"{self.name}-{service}-1"

    def state(self, service: str) -> dict[str, Any]:
        """The container's State: Status, ExitCode, OOMKilled, Health …"""
        return dict(inspect(self.container(service))["State"])

    def health(self, service: str) -> str:
        """`starting`, `healthy` or `unhealthy`."""
        return str(self.state(service)["Health"]["Status"])

    def wait_health(self, service: str, wanted: str, deadline_s: float = 240.0) -> None:
        """Until the container's health is that."""
        wait_until(lambda: self.health(service) == wanted, deadline_s, lambda: self.told(service), poll_s=0.5)

    def wait_exit(self, service: str, deadline_s: float = 400.0) -> int:
        """The exit code of a service that ends."""
        wait_until(lambda: self.state(service)["Status"] == "exited", deadline_s, lambda: self.told(service), 0.3)
        return int(self.state(service)["ExitCode"])

    def sh(self, service: str, script: str, *, check: bool = True, timeout_s: float = COMMAND_DEADLINE_S) -> str:
        """What a shell script prints inside the container, as the image's user."""
        command = ["docker", "exec", self.container(service), "sh", "-c", script]
        return run(command, check=check, timeout_s=timeout_s).stdout.strip()

    def status(self) -> dict[str, Any]:
        """`telemetryd status --json` in the daemon's container; {} while it does not answer."""
        command = ["docker", "exec", self.container("daemon"), "telemetryd", "status", "--json"]
        ran = run(command, check=False)
        return dict(json.loads(ran.stdout)) if ran.returncode == 0 else {}

    def daemon_pid(self) -> int:
        """The daemon's number within its container."""
        return int(self.status()["daemon"]["pid"])

    def settle(self, deadline_s: float = 240.0) -> dict[str, Any]:
        """The status once every row is delivered and every run is over."""
        found: dict[str, Any] = {}

        def settled() -> bool:
            found.clear()
            found.update(self.status())
            over = [run["state"] == "finished" for run in found.get("runs", [])]
            return bool(over) and all(over) and not found["pending"]

        wait_until(settled, deadline_s, lambda: f"{json.dumps(found)[:3000]}\n{self.told('daemon')}", poll_s=0.5)
        return found

    def runs_folder(self, folder: Path) -> Path:
        """A copy of the runs' folder in the daemon's volume; the container may be stopped."""
        docker("cp", f"{self.container('daemon')}:/var/lib/telemetryd/wandb", folder / "copied")
        return folder / "copied"

    def told(self, service: str) -> str:
        """The end of what a service has said."""
        ran = run(["docker", "logs", "--tail", "60", self.container(service)], check=False)
        return ran.stdout + ran.stderr

    def end(self) -> None:
        """Remove everything of the project."""
        self.compose("--profile", "standin", "down", "--volumes", "--timeout", "0", check=False)
