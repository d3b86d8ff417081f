"""A real daemon process whose run workers are `fake_worker`: for tests of reception and supervision without wandb."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from telemetryd.settings.fields import BY_NAME
from tests.support.daemon import Daemon
from tests.support.processes import python, spawn


@dataclass
class FakeSettings:
    """What `serve` must be told."""

    endpoint: str
    state_dir: Path
    spool_dir: Path
    drain_timeout_s: float = 10.0
    inbox_max_bytes: int = 1 << 30
    artifact_max_bytes: int = 1 << 30
    artifact_cache_max_bytes: int = 1 << 30
    upload_max_bytes_per_s: int = 0
    run_dirs: str = ""
    late: str = "keep"
    ranks: str = "main"
    log_level: str = "info"
    max_workers: int = 4
    exit_when_idle: bool = False
    sampling: str = "off"
    sample_period_s: float = 10.0
    sample_periods: str = ""
    sample_all_gpus: bool = False
    sample_paths: str = ""
    node_label: str = "auto"

    @property
    def keys_dir(self) -> Path:
        return self.state_dir / "keys"

    def __getattr__(self, name: str) -> Any:
        """What no test of this daemon sets is as by default."""
        if name not in BY_NAME:
            raise AttributeError(name)
        return BY_NAME[name].default


class FakeDaemon(Daemon):
    """`start(["--max-workers", "1"], env={"FAKE_WORKER": "crash"})`; otherwise as a Daemon."""

    def start(self, arguments: Sequence[str] = (), env: dict[str, str] | None = None) -> FakeDaemon:
        self._spawn(arguments, env)
        self.wait_ready()
        return self

    def start_in_vain(self) -> str:
        """Start it, see it end with an error, and return what it wrote."""
        self._spawn((), None)
        assert self.spawned is not None
        assert self.spawned.wait(30.0) != 0
        return self.told()

    def _spawn(self, arguments: Sequence[str], env: dict[str, str] | None) -> None:
        assert self.spawned is None or not self.spawned.running(), "the daemon runs already"
        self.arguments = list(arguments) or self.arguments
        self.env = self.env if env is None else env
        places = ["--endpoint", self.endpoint, "--state", str(self.state_dir), "--spool", str(self.spool_dir)]
        command = python("-m", "tests.support.fake_daemon", *places, *self.arguments)
        root = str(Path(__file__).parents[2])
        self.spawned = spawn(command, self.folder, env={**self.environment, "PYTHONPATH": root, **self.env})

    def delivered(self, run_number: int = 1) -> list[tuple[str, int]]:
        """(session, number) of the rows that the fake worker delivered, in order."""
        path = self.state_dir / f"delivered-{run_number}.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(line.split()[0], int(line.split()[1])) for line in lines]


def main() -> int:
    from telemetryd.supervision.daemon import serve

    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint")
    parser.add_argument("--state", type=Path)
    parser.add_argument("--spool", type=Path)
    parser.add_argument("--drain-timeout", type=float, default=10.0)
    parser.add_argument("--inbox-max", type=int, default=1 << 30)
    parser.add_argument("--max-workers", type=int, default=4)
    parser.add_argument("--exit-when-idle", action="store_true")
    given = parser.parse_args()
    settings = FakeSettings(
        given.endpoint,
        given.state,
        given.spool,
        drain_timeout_s=given.drain_timeout,
        inbox_max_bytes=given.inbox_max,
        max_workers=given.max_workers,
        exit_when_idle=given.exit_when_idle,
    )
    return serve(settings, worker_command=python("-m", "tests.support.fake_worker"))


if __name__ == "__main__":
    sys.exit(main())
