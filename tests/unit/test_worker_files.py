"""A run worker that is killed cannot remove its temporary files; the daemon does, once it has reaped it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from telemetryd.supervision.worker_process import WorkerProcess
from tests.support.processes import wait_until

WORKER = """
import os, signal, sys, tempfile
from pathlib import Path
from telemetryd.runs.predecessor import RunLock
arguments = sys.argv
folder, run = Path(arguments[arguments.index("--inbox") + 1]).parent, arguments[arguments.index("--run") + 1]
RunLock(folder / f"{run}.lock").take(Path(tempfile.mkdtemp(prefix="tdw-")))
signal.pause()
"""


def test_what_a_killed_worker_leaves_is_removed(tmp_path: Path) -> None:
    worker = WorkerProcess((sys.executable, "-c", WORKER), 7, tmp_path / "inbox", tmp_path, 0.0)
    try:
        lock = tmp_path / "7.lock"
        wait_until(lambda: lock.exists() and lock.read_bytes(), 30, lambda: worker.log_path.read_text())
        (folder,) = Path(tempfile.gettempdir()).glob("tdw-*")
        (folder / "something").write_text("of wandb-core's")
    finally:
        worker.kill()
        worker.wait()
        worker.close()
    assert not folder.exists()


def test_a_former_workers_files_are_left_to_the_worker_that_comes(tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "7.lock").write_text(f'{{"pid":1,"started":0,"temp_dir":"{tmp_path}/others"}}')
    worker = WorkerProcess((sys.executable, "-c", "pass"), 7, tmp_path / "inbox", tmp_path, 0.0)
    worker.wait()
    worker.close()
    assert (tmp_path / "others").exists()
