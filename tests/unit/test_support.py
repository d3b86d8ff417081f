"""The suite's own tools: a leak check that sees nothing would let every leak through."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support import leaks
from tests.support.processes import alive, descendants, kill_tree, python, running, send, spawn, wait_until

SLEEPER = "import time; print('here', flush=True); time.sleep(600)"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]).wait()"
ORPHANER = (
    "import subprocess, sys;"
    f"subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], start_new_session=True, stdout=subprocess.DEVNULL)"
)


def mark() -> str:
    return os.environ[leaks.MARK]


def test_a_thread_left_running_is_reported() -> None:
    before = leaks.take()
    over = threading.Event()
    thread = threading.Thread(target=over.wait, name="forgotten")
    thread.start()
    said = leaks.left(before, mark())
    over.set()
    thread.join()
    assert [line for line in said if "forgotten" in line]
    assert leaks.left(before, mark()) == []


def test_an_open_file_is_reported(tmp_path: Path) -> None:
    before = leaks.take()
    with (tmp_path / "left-open").open("w"):
        said = leaks.left(before, mark())
    assert len(said) == 1
    assert "left-open" in said[0]


def test_an_orphan_in_a_session_of_its_own_is_reported(tmp_path: Path) -> None:
    before = leaks.take()
    assert spawn(python("-c", ORPHANER), tmp_path).wait(20) == 0
    (orphan,) = wait_until(lambda: leaks.left_processes(before, mark()), 10, "the orphan to be seen")
    assert any(f"process {orphan}" in line for line in leaks.left(before, mark()))
    kill_tree(orphan)
    assert not alive(orphan)


def test_a_child_nobody_waited_for_is_reported() -> None:
    before = leaks.take()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    wait_until(lambda: not alive(pid), 10, "the child's end")
    said = leaks.left(before, mark())
    os.waitpid(pid, 0)
    assert any(f"process {pid} (Z)" in line for line in said)


def test_a_temporary_file_is_reported(isolated: Path) -> None:
    with (isolated / "tmp" / "scratch").open("w"):
        pass
    assert "scratch" in leaks.left_files(isolated / "tmp")[0]
    (isolated / "tmp" / "scratch").unlink()
    assert leaks.left_files(isolated / "tmp") == []


def test_killing_a_tree_ends_the_grandchildren_too(tmp_path: Path) -> None:
    with running(python("-c", PARENT), tmp_path) as parent:
        parent.wait_out("here", 20)
        before = descendants(parent.pid)
        assert before
        parent.kill()
        assert not any(alive(pid) for pid in before)


def test_waiting_says_what_did_not_happen() -> None:
    start = time.monotonic()
    with pytest.raises(AssertionError, match="the moon"):
        wait_until(lambda: False, 0.05, "the moon to turn")
    assert time.monotonic() - start < 5


def test_a_stopped_process_is_alive_and_a_dead_one_is_not(tmp_path: Path) -> None:
    with running([sys.executable, "-c", SLEEPER], tmp_path) as sleeper:
        sleeper.wait_out("here", 20)
        send(sleeper.pid, signal.SIGSTOP)
        assert alive(sleeper.pid)
        sleeper.kill()
        assert not alive(sleeper.pid)


def test_no_setting_of_the_machine_reaches_a_test(isolated: Path) -> None:
    assert Path.home().is_relative_to(isolated)
    assert {name for name in os.environ if name.startswith("TELEMETRYD_")} == {"TELEMETRYD_RAISE", "TELEMETRYD_HTTP"}
    assert "WANDB_API_KEY" not in os.environ
