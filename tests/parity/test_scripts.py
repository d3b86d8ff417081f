"""Each script runs on wandb and through the sidecar, offline and online; what the four leave is compared in pairs.

Offline the script runs under `telemetryd run`, online by itself beside the daemon: both ways of using it are compared.
One daemon and two stand-ins serve all scripts of a test process: a run's entity is the script's name.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.parity import differences, kept, project
from tests.standin.fixture import StandinProcess
from tests.support import leaks
from tests.support.daemon import Daemon
from tests.support.processes import kill_tree
from tests.support.requirements import require_module

require_module("wandb")
import wandb.proto.wandb_internal_pb2  # noqa: E402, F401 - now, and not by four threads at once

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.py"))
INJECT = Path(__file__).parent / "inject"
ROOT = Path(__file__).parents[2]
SCRIPT_DEADLINE_S = 200.0
"""Four processes that each import torch take twenty seconds of CPU, on cores that others may use."""
REFERENCE_TRIES = 3
MODES = ("offline", "online")
NEEDS = "# needs: "
SHOWN_MAX = 300
"""Characters of a value in a failure's message."""


@dataclass
class Bench:
    """What the scripts run against: wandb's stand-in, and the daemon with a stand-in of its own."""

    reference: StandinProcess
    standin: StandinProcess
    daemon: Daemon


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    """One for all tests of this process."""
    folder = Path(tempfile.mkdtemp(prefix="tdp-", dir="/tmp"))  # short: a socket's path has a limit
    (folder / "tmp").mkdir()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        standins = [StandinProcess(folder / name) for name in ("reference", "standin")]
        for standin in standins:
            stack.callback(standin.kill)
            standin.start()
        daemon = Daemon(folder / "daemon", f"ipc://{folder}/d.sock", folder / "state", folder / "spool")
        stack.callback(daemon.end)
        daemon.start(env={**standins[1].environment(), **_quick(folder)})
        leaks.SHARED.add(daemon.pid)
        stack.callback(leaks.SHARED.discard, daemon.pid)
        yield Bench(*standins, daemon)


def _quick(folder: Path) -> dict[str, str]:
    """A home of its own, and a sampler from the beginning."""
    own = {"HOME": str(folder), "TMPDIR": str(folder / "tmp"), "TELEMETRYD_SAMPLING": "always"}
    return {**own, "WANDB_ERROR_REPORTING": "false"}


@dataclass
class Ended:
    """How a script's process ended."""

    code: int
    out: str
    told: str


def run(command: list[str | Path], folder: Path, environment: Mapping[str, str]) -> Ended:
    """Run it to its end in a folder."""
    process = subprocess.Popen(
        [str(part) for part in command], cwd=folder, env={**os.environ, **environment}, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=SCRIPT_DEADLINE_S)
    finally:
        kill_tree(process.pid)
        process.wait()
    return Ended(process.returncode, out, f"$ {command}\nexit {process.returncode}\n{out}\n{err}")


class Runs:
    """The four runs of one script."""

    def __init__(self, bench: Bench, script: Path, folder: Path) -> None:
        self.bench = bench
        self.name = script.stem.replace("_", "-")
        self.project = project.make(folder / "project", script)
        self.folder = folder
        self.told: dict[str, str] = {}

    def on_wandb(self, mode: str) -> kept.Kept:
        """What the script leaves on the real wandb: on a busy machine a run may end before wandb-core has looked at the
        machine, and then lacks what it would have found there, so it is run again."""
        command: list[str | Path] = [sys.executable, project.PROGRAM, *project.ARGUMENTS]
        for attempt in range(REFERENCE_TRIES):
            folder = project.copy(self.project, self.folder / f"wandb-{mode}-{attempt}")
            left = self._leave(folder, mode, self.bench.reference, command, entity=f"{self.name}-{mode}-{attempt}")
            if _has_seen_the_machine(left):
                break
        return left

    def through_sidecar(self, mode: str) -> kept.Kept:
        """What the same script leaves where `import wandb` gives the client."""
        folder = project.copy(self.project, self.folder / f"ours-{mode}")
        command: list[str | Path] = ["env", f"PYTHONPATH={INJECT}{os.pathsep}{ROOT}"]
        command += [sys.executable, project.PROGRAM, *project.ARGUMENTS]
        if mode == "offline":
            command = [sys.executable, "-m", "telemetryd", "run", "--", *command]
        entity = f"{self.name}-{mode}"  # the daemon tells its runs apart by entity, project and id
        return self._leave(folder, mode, self.bench.standin, command, self.bench.daemon, entity=entity)

    def _leave(
        self,
        folder: Path,
        mode: str,
        standin: StandinProcess,
        command: list[str | Path],
        daemon: Daemon | None = None,
        *,
        entity: str,
    ) -> kept.Kept:
        temp = self.folder / f"tmp-{folder.name}"
        temp.mkdir()
        environment = {**standin.environment(), "WANDB_MODE": mode, "WANDB_ENTITY": entity}
        environment |= {"TMPDIR": str(temp), "WANDB_SILENT": "true", "PYTHONHASHSEED": "0", "WANDB_DIR": str(folder)}
        if daemon is not None:
            environment |= daemon.environment
            del environment["WANDB_API_KEY"]
        ended = run(command, folder, environment)
        self.told[folder.name] = ended.told
        if daemon is not None:
            daemon.wait_status(_settled(entity), 60.0, f"the end of {entity}'s runs\n{ended.told}")
        left = kept.offline(folder) if mode == "offline" else kept.online(standin, entity, folder)
        assert left, f"no run was left\n{ended.told}"
        left |= kept.plain({"process/exit": str(ended.code), "process/stdout": ended.out}, folder)
        return {path: text.replace(entity, "ENTITY") for path, text in left.items()}


def _has_seen_the_machine(left: kept.Kept) -> bool:
    """Whether every run whose process wandb described has its machine's description, too."""
    described = {path.partition("/metadata/")[0] for path in left if "/metadata/" in path}
    return all(f"{run}/metadata/cpu_count" in left for run in described)


def _settled(entity: str) -> Callable[[dict[str, Any]], bool]:
    def settled(status: dict[str, Any]) -> bool:
        runs = [run for run in status["runs"] if run["key"].startswith(f"{entity}/")]
        return bool(runs) and all(run["state"] == "finished" and not run["pending"] for run in runs)

    return settled


def needs(script: Path) -> list[str]:
    """The modules that a script says it needs."""
    lines = [line for line in script.read_text().splitlines() if line.startswith(NEEDS)]
    return [name.strip() for line in lines for name in line.removeprefix(NEEDS).split(",")]


def _said(found: Mapping[str, tuple[str | None, str | None]]) -> str:
    lines = []
    for path, pair in found.items():
        theirs, ours = (repr(side[:SHOWN_MAX] if side is not None else None) for side in pair)
        lines.append(f"{path}\n    wandb: {theirs}\n    ours:  {ours}")
    return "\n".join(lines)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_a_script_leaves_the_same_runs_as_on_wandb(script: Path, bench: Bench, short_path: Path) -> None:
    for module in needs(script):
        require_module(module)
    runs = Runs(bench, script, short_path / "p")
    with ThreadPoolExecutor(4) as pool:
        theirs = {mode: pool.submit(runs.on_wandb, mode) for mode in MODES}
        ours = {mode: pool.submit(runs.through_sidecar, mode) for mode in MODES}
    found: dict[str, tuple[str | None, str | None]] = {}
    unseen = {one.what for one in differences.intended() if one.shown_by == script.stem}
    for mode in MODES:
        for path, pair in kept.differing(theirs[mode].result(), ours[mode].result()).items():
            covering = [one.what for one in differences.intended() if one.covers(script.stem, mode, path)]
            unseen -= set(covering)
            if not covering:
                found[f"{mode} {path}"] = pair
    assert not found, f"{_said(found)}\n{runs.told}"
    assert not unseen, "intended differences that this script should show and does not"


def test_every_intended_difference_is_shown_by_a_script_there_is() -> None:
    assert {one.shown_by for one in differences.intended()} <= {script.stem for script in SCRIPTS}


def test_the_document_of_differences_is_written_from_the_list() -> None:
    assert differences.DOCUMENT.read_text() == differences.document()
