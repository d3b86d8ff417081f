"""One fault test's world: a daemon, a training process, perhaps a W&B stand-in, and what W&B ended up with."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from client.connection import ask
from client.errors import NoAnswerError
from telemetryd.runs.wandb_file import history_rows
from tests.standin.client import Standin
from tests.support.processes import Spawned, alive, command_line, descendants, send, spawn, wait_until, with_environment
from tests.support.trainer import read_account

TRAINER = Path(__file__).with_name("trainer.py")
SETTLE_DEADLINE_S = 90.0
MARK = "WORLD"
"""The environment variable by which a world's processes are found, whoever their parent is by now."""


@dataclass
class Account:
    """What the training process saw. `returned` holds the numbers of the rows whose `log` returned; `p999_ms` and
    `longest_own_ms` leave out the time in which the thread was ready to run and other processes had the cores."""

    logged: int
    errors: int
    longest_ms: float
    p999_ms: float
    returned: frozenset[int] = frozenset()
    longest_own_ms: float = 0.0


@dataclass
class Outcome:
    """What became of the rows: `doubled` and `missing` hold row numbers."""

    account: Account
    rows_in_wandb: int
    doubled: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    out_of_order: int = 0


class World:
    """Everything of one test lives under `folder`; `standin` None means offline. Several worlds may live at once."""

    def __init__(self, folder: Path, standin: Standin | None = None, rows: int = 2000) -> None:
        self.folder = folder
        self.rows = rows
        self.standin = standin
        self.runs_dir = folder / "runs"
        self.endpoint = f"ipc://{folder}/d.sock"
        self.state_dir = folder / "s"
        self.spool_dir = folder / "spool"
        self.account_path = folder / "account"
        self.run_id = "chaos"
        self.daemon: Spawned | None = None
        self.trainer: Spawned | None = None
        self._daemon_flags: tuple[str, ...] = ()
        self._mark = f"{MARK}={folder}"
        self.environment = {
            "TELEMETRYD_ENDPOINT": self.endpoint,
            "TELEMETRYD_STATE_DIR": str(self.state_dir),
            "TELEMETRYD_SPOOL_DIR": str(self.spool_dir),
            "WANDB_DIR": str(self.runs_dir),
            "WANDB_MODE": "offline",
            MARK: str(folder),
        }
        if standin is not None:
            self.environment |= standin.environment()
        for made in (folder, self.runs_dir):
            made.mkdir(exist_ok=True, parents=True)

    def start_daemon(self, *flags: str) -> Spawned:
        """Starts the daemon, and returns when it answers. `flags` are kept for later starts."""
        daemon = self.spawn_daemon(*flags)
        wait_until(lambda: self.answers() or not self.daemon_running(), 30, "the daemon to answer")
        assert self.daemon_running(), daemon.told()
        return daemon

    def spawn_daemon(self, *flags: str) -> Spawned:
        """Starts the daemon without a look whether it lives."""
        assert not self.daemon_running(), "the daemon runs already"
        self._daemon_flags = flags or self._daemon_flags
        command = [sys.executable, "-m", "telemetryd", "serve", *self._daemon_flags]
        self.daemon = spawn(command, self.folder / "daemon", env=self.environment)
        return self.daemon

    def push(self, **environment: str) -> None:
        """`telemetryd push`, of a machine with this environment."""
        done = subprocess.run(
            [sys.executable, "-m", "telemetryd", "push"],
            env=os.environ | self.environment | environment, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def daemon_running(self) -> bool:
        return self.daemon is not None and self.daemon.running()

    def answers(self) -> bool:
        try:
            ask(self.endpoint, "ping", {}, 0.5)
        except NoAnswerError:
            return False
        return True

    def start_trainer(self, rows_per_s: float = 500, *flags: str) -> Spawned:
        command = [sys.executable, TRAINER, self.account_path, str(self.rows), str(rows_per_s)]
        command += ["--run-id", self.run_id, *flags]
        self.trainer = spawn(command, self.folder / "trainer", env=self.environment)
        return self.trainer

    def account(self) -> Account:
        """What the training process has noted up to now; nothing yet before it has begun."""
        if not self.account_path.exists() or not (content := self.account_path.read_bytes()):
            return Account(0, 0, 0.0, 0.0)
        errors, calls, own = read_account(content)
        returned = frozenset(number for number, took_ns in enumerate(calls) if took_ns)
        own_ns = sorted(took_ns for took_ns in own if took_ns) or [0]
        p999_ns = own_ns[min(len(own_ns) - 1, int(len(own_ns) * 0.999))]
        return Account(len(returned), errors, max(calls) / 1e6, p999_ns / 1e6, returned, own_ns[-1] / 1e6)

    def wait_logged(self, count: int, deadline_s: float = 60) -> None:
        """Until so many calls have returned."""

        def far_enough() -> bool:
            return self.account().logged >= count or not (self.trainer and self.trainer.running())

        told = self.trainer.told if self.trainer else ""
        wait_until(far_enough, deadline_s, told, poll_s=0.02)
        assert self.account().logged >= count, f"training ended early\n{self.trainer.told() if self.trainer else ''}"

    def worker_pids(self) -> list[int]:
        return [pid for pid in with_environment(self._mark) if alive(pid) and "worker_main" in command_line(pid)]

    def core_pids(self) -> list[int]:
        return [pid for pid in with_environment(self._mark) if alive(pid) and "wandb-core" in command_line(pid)]

    def target(self, name: str) -> list[int]:
        """The pids of "trainer", "daemon", "worker" or "core" (waiting for the latter two to be there)."""
        if name == "trainer":
            assert self.trainer is not None
            return [self.trainer.pid]
        if name == "daemon":
            assert self.daemon is not None
            return [self.daemon.pid]
        find = self.worker_pids if name == "worker" else self.core_pids
        return wait_until(find, 30, f"a {name}")

    def signal(self, name: str, signum: signal.Signals) -> list[int]:
        return self.send(self.target(name), signum)

    def send(self, pids: list[int], signum: signal.Signals) -> list[int]:
        """Signals processes; those that are gone by now are left out of the answer."""
        return [pid for pid in pids if send(pid, signum)]

    def resume(self, pids: list[int]) -> None:
        """SIGCONT."""
        for pid in pids:
            send(pid, signal.SIGCONT)

    def restart_daemon(self) -> None:
        """SIGKILL, and a new one."""
        self.kill_daemon()
        self.start_daemon()

    def stop_daemon(self) -> None:
        """SIGTERM; it must end well."""
        assert self.daemon is not None
        assert self.daemon.stop(60) == 0, self.daemon.told()

    def kill_daemon(self) -> None:
        """SIGKILL, reaped; what it started is left to notice by itself."""
        assert self.daemon is not None
        self.signal("daemon", signal.SIGKILL)
        self.daemon.wait(10)

    def status(self) -> dict:
        return ask(self.endpoint, "status", {}, 5)

    def wait_settled(self, deadline_s: float = SETTLE_DEADLINE_S) -> dict:
        """Until the daemon says that nothing is pending and every run has ended."""
        last: dict = {}

        def settled() -> bool:
            nonlocal last
            try:
                last = self.status()
            except NoAnswerError:
                return False
            runs = last["runs"]
            return bool(runs) and last["pending"] == 0 and all(run["state"] == "finished" for run in runs)

        def told() -> str:
            said = self.daemon.told() if self.daemon else ""
            return f"everything delivered; status {json.dumps(last, indent=1)}\n{said}\n{self.worker_logs()}"

        wait_until(settled, deadline_s, told, poll_s=0.1)
        return last

    def wait_delivering(self, deadline_s: float = 30) -> None:
        """Until the first rows are delivered: the run worker and wandb-core are up, the run's folder is there."""

        def delivering() -> bool:
            try:
                return bool(self.status()["delivered"])
            except NoAnswerError:
                return False

        wait_until(delivering, deadline_s, self.worker_logs, poll_s=0.05)

    def worker_logs(self) -> str:
        logs = sorted((self.state_dir / "workers").glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-4000:]}" for path in logs)

    def numbers_in_wandb(self, run_id: str | None = None) -> list[int]:
        """The row numbers that W&B has of a run (this world's own by default), in its order."""
        run_id = run_id or self.run_id
        if self.standin is not None:
            return [int(row["i"]) for row in self.standin.rows(run_id) if "i" in row]
        found = []
        files = self.runs_dir.glob(f"wandb/*run-*/run-{run_id}.wandb")
        for path in sorted(files, key=lambda path: path.stat().st_mtime_ns):
            found += [int(row["i"]) for _, row in history_rows(path) if "i" in row]
        return found

    def images_in_wandb(self) -> dict[int, bytes | None]:
        """By the number of each row that names an image: the file's content, None where there is no such file."""
        if self.standin is not None:
            files = self.standin.files(self.run_id)
            rows = [(int(row["i"]), row["image"]["path"]) for row in self.standin.rows(self.run_id) if "image" in row]
            return {i: self.standin.read_file(self.run_id, path) if path in files else None for i, path in rows}
        found: dict[int, bytes | None] = {}
        for file in self.runs_dir.glob(f"wandb/*run-*/run-{self.run_id}.wandb"):
            for _, row in history_rows(file):
                if "image" in row:
                    path = file.parent / "files" / row["image"]["path"]
                    found[int(row["i"])] = path.read_bytes() if path.exists() else None
        return found

    def outcome(self) -> Outcome:
        """Compare what was logged with what W&B has. A row whose `log` had not returned yet may be there or not."""
        account = self.account()
        numbers = self.numbers_in_wandb()
        counts = Counter(numbers)
        return Outcome(
            account,
            len(numbers),
            sorted(number for number, count in counts.items() if count > 1),
            sorted(account.returned - set(counts)),
            sum(later < earlier for earlier, later in itertools.pairwise(numbers)),
        )

    def close(self) -> None:
        for process in (self.trainer, self.daemon):
            if process is not None:
                for pid in {process.pid} | descendants(process.pid):
                    send(pid, signal.SIGCONT)
                process.kill()
        for pid in self.pids():
            send(pid, signal.SIGCONT)
            send(pid, signal.SIGKILL)
        wait_until(lambda: not any(alive(pid) for pid in self.pids()), 10, lambda: f"the end of {self.pids()}")

    def pids(self) -> list[int]:
        """Every living process of this world."""
        return [pid for pid in with_environment(self._mark) if pid != os.getpid() and command_line(pid)]
