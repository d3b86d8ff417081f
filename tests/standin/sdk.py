"""The real wandb SDK in a process of its own, talking to a stand-in and to nothing else.

Each has its folders (HOME, run directory, cache, config) under one folder, and a process group, so that a script that
hangs is ended with its wandb-core.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import kill_tree

from .client import Standin

#: Waits between the SDK's retries, as short as it lets us: tests look at what happens, not at how long it takes.
QUICK_RETRIES = {
    "WANDB_X_FILE_STREAM_RETRY_WAIT_MIN_SECONDS": "1",
    "WANDB_X_FILE_STREAM_RETRY_WAIT_MAX_SECONDS": "1",
    "WANDB_X_GRAPHQL_RETRY_WAIT_MIN_SECONDS": "1",
    "WANDB_X_GRAPHQL_RETRY_WAIT_MAX_SECONDS": "1",
    "WANDB_X_FILE_TRANSFER_RETRY_WAIT_MIN_SECONDS": "1",
    "WANDB_X_FILE_TRANSFER_RETRY_WAIT_MAX_SECONDS": "1",
    "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1",
}


@dataclass(frozen=True)
class Outcome:
    """How a script ended: its exit code (None: it was killed at the deadline), what it said, how long it took."""

    code: int | None
    stdout: str
    stderr: str
    took_s: float


class Script:
    """A running script."""

    def __init__(self, process: subprocess.Popen[str], temp: Path):
        self.process = process
        self.temp = temp
        self._began = time.monotonic()

    def end(self, timeout_s: float) -> Outcome:
        """Wait for its end; at the deadline it is killed with all it started."""
        code: int | None = None
        try:
            stdout, stderr = self.process.communicate(timeout=timeout_s)
            code = self.process.returncode
        except subprocess.TimeoutExpired:
            self.kill()
            stdout, stderr = self.process.communicate()
        self.kill()  # a wandb-core it may have left
        return Outcome(code, stdout, stderr, time.monotonic() - self._began)

    def say(self, line: str) -> None:
        """Give it a line on stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """The next line of its stdout; empty at its end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def kill(self) -> None:
        """SIGKILL to the script and all it started; their temporary files go, too."""
        kill_tree(self.process.pid)
        shutil.rmtree(self.temp, ignore_errors=True)


class Sdk:
    """Scripts that log to `standin`, with their folders under `folder`."""

    def __init__(self, standin: Standin, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        folders = {
            name: str(folder / name.lower())
            for name in (
                "HOME",
                "WANDB_DIR",
                "WANDB_CACHE_DIR",
                "WANDB_DATA_DIR",
                "WANDB_CONFIG_DIR",
                "WANDB_ARTIFACT_DIR",
            )
        }
        for path in folders.values():
            Path(path).mkdir(exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        self.environment = {**kept, **folders, **standin.environment(), **QUICK_RETRIES,
                            "WANDB_ERROR_REPORTING": "false",
                            "WANDB_SILENT": "true", "NETRC": str(folder / "netrc")}  # fmt: skip

    def start(self, code: str, **variables: str) -> Script:
        """Start Python code with these environment variables besides; it may read stdin."""
        return self._script([sys.executable, "-c", textwrap.dedent(code)], variables)

    def run(self, code: str, *, timeout_s: float = 30.0, **variables: str) -> Outcome:
        """Run Python code to its end."""
        return self.start(code, **variables).end(timeout_s)

    def command(self, *arguments: str, timeout_s: float = 30.0, **variables: str) -> Outcome:
        """Run the wandb command line."""
        return self._script([sys.executable, "-m", "wandb", *arguments], variables).end(timeout_s)

    def _script(self, command: list[str], variables: dict[str, str]) -> Script:
        temp = tempfile.mkdtemp(prefix="sdk-")  # short, for wandb-core's socket
        process = subprocess.Popen(
            command, cwd=self.folder, env={**self.environment, "TMPDIR": temp, **variables}, start_new_session=True,
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        return Script(process, Path(temp))
