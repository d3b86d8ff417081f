"""The run's lock and the notes that outlive a worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from telemetryd.runs import predecessor
from telemetryd.runs.errors import PredecessorError
from telemetryd.runs.notes import Folder, Notebook
from telemetryd.runs.predecessor import Owner, RunLock, started_ticks
from tests.support.processes import wait_until

HOLDER = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


def hold(path: Path) -> subprocess.Popen[bytes]:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    holder.stdout.close()
    return holder


def test_a_holder_that_the_lock_names_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "1.lock"
    holder = hold(path)
    path.write_bytes(msgspec.json.encode(Owner(holder.pid, started_ticks(holder.pid) or 0, str(tmp_path / "none"))))
    lock = RunLock(path)
    lock.take(tmp_path / "temp")
    assert holder.wait(10) == -9
    assert msgspec.json.decode(path.read_bytes(), type=Owner).pid == os.getpid()
    lock.release()
    assert path.read_bytes() == b""


def test_a_holder_with_a_used_again_pid_is_left_alone_and_said(tmp_path: Path) -> None:
    path = tmp_path / "1.lock"
    holder = hold(path)
    path.write_bytes(msgspec.json.encode(Owner(holder.pid, 1, str(tmp_path / "none"))))
    lock = RunLock(path)
    try:
        with pytest.raises(PredecessorError, match="end that process"):
            lock.take(tmp_path / "temp", wait_s=0.2)
        assert holder.poll() is None
    finally:
        holder.kill()
        holder.wait(10)
        lock.release()


def test_a_core_that_outlived_its_worker_is_killed_and_its_temporary_files_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(10)
    # A shell that waits for a line by itself: a command that it waits for would be a second process to look after.
    command = [str(tmp_path / predecessor.CORE_NAME), "-c", "read line; :", "--pid", str(gone.pid)]
    orphan = subprocess.Popen(command, executable="/bin/sh", stdin=subprocess.PIPE, start_new_session=True)
    wait_until(lambda: predecessor.cores_of(gone.pid), 10, "a process that looks like a wandb-core")
    left = tmp_path / "left"
    left.mkdir()
    path = tmp_path / "1.lock"
    path.write_bytes(msgspec.json.encode(Owner(gone.pid, 1, str(left))))
    lock = RunLock(path)
    try:
        lock.take(tmp_path / "temp")
        assert orphan.wait(10) == -9
        assert not left.exists()
    finally:
        lock.release()
        orphan.kill()
        orphan.communicate()


def test_notes_count_only_for_the_run_they_were_written_for(tmp_path: Path) -> None:
    path = tmp_path / "1.json"
    notebook = Notebook(path, 5, "drop")
    notebook.add_folder(Folder("/runs/a", "/runs/a/x.wandb", "offline", 3))
    notebook.add_end(9)
    again = Notebook(path, 5, "keep")
    assert (again.notes.late, again.notes.ends, again.notes.folders[0].starting_step) == ("drop", [9], 3)
    assert Notebook(path, 6, "keep").notes.folders == []
    path.write_bytes(b"torn")
    assert Notebook(path, 5, "keep").notes.folders == []
