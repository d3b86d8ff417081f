"""The daemon that a launcher starts: found, started, replaced when it dies, retired when nobody needs it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from telemetryd.cli import exit_codes
from tests.support.daemon import Daemon, ask
from tests.support.processes import Spawned, alive, command_line, pids, python, spawn, wait_until

WAIT = "while ! test -e {}; do sleep 0.02; done"


@pytest.fixture
def endpoint(isolated: Path) -> str:
    return f"ipc://{isolated}/run/telemetryd/daemon.sock"


def run_line(*command: str | Path, options: tuple[str, ...] = ()) -> list[str]:
    return python("-m", "telemetryd", "run", *options, "--", *command)


def ping(endpoint: str) -> dict[str, object] | None:
    return ask(endpoint, "ping", 0.25)


def answering(endpoint: str, launcher: Spawned, other_than: object = None) -> int:
    """The pid of the daemon that answers, once another than `other_than` does."""

    def answered() -> object:
        pid = (ping(endpoint) or {}).get("pid")
        return pid if pid != other_than else None

    found = wait_until(answered, 30, lambda: f"a daemon's answer\n{launcher.told()}")
    assert isinstance(found, int)
    return found


def gone(pid: int) -> Callable[[], bool]:
    return lambda: not alive(pid)


def daemons(isolated: Path) -> list[int]:
    return [pid for pid in pids() if "telemetryd serve" in command_line(pid) and str(isolated) in command_line(pid)]


def test_without_a_daemon_one_is_started_and_ended_afterwards(isolated: Path, endpoint: str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    launcher = spawn(run_line("sh", "-c", f"echo begun; {WAIT.format(go)}; exit 3"), tmp_path / "out")
    try:
        launcher.wait_out("begun", 30)
        pid = answering(endpoint, launcher)
        assert os.getsid(pid) == pid, "the terminal's signals must not reach it"
        go.touch()
        assert launcher.wait(30) == 3
        wait_until(gone(pid), 10, "the daemon's end")
    finally:
        launcher.kill()
    assert (isolated / "state" / "telemetryd" / "daemon.log").read_text()
    assert launcher.err() == ""


def test_a_second_launcher_uses_the_daemon_of_the_first_which_ends_after_both(endpoint: str, tmp_path: Path) -> None:
    first_go, second_go = tmp_path / "first", tmp_path / "second"
    first = spawn(run_line("sh", "-c", f"echo begun; {WAIT.format(first_go)}"), tmp_path / "out1")
    second = None
    try:
        first.wait_out("begun", 30)
        pid = answering(endpoint, first)
        second = spawn(run_line("sh", "-c", f"echo begun; {WAIT.format(second_go)}"), tmp_path / "out2")
        second.wait_out("begun", 30)
        first_go.touch()
        assert first.wait(30) == 0
        assert answering(endpoint, second) == pid
        second_go.touch()
        assert second.wait(30) == 0
        wait_until(gone(pid), 15, "the daemon's end")
    finally:
        first.kill()
        if second is not None:
            second.kill()


def test_two_launchers_that_start_at_once_share_one_daemon(isolated: Path, endpoint: str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    both = [spawn(run_line("sh", "-c", f"echo begun; {WAIT.format(go)}"), tmp_path / f"out{n}") for n in (1, 2)]
    try:
        for launcher in both:
            launcher.wait_out("begun", 40)
        answering(endpoint, both[0])
        assert [launcher.err() for launcher in both] == ["", ""]
        wait_until(lambda: len(daemons(isolated)) == 1, 10, lambda: f"one daemon, not {daemons(isolated)}")
        go.touch()
        assert [launcher.wait(30) for launcher in both] == [0, 0]
        wait_until(lambda: not daemons(isolated), 15, "the daemon's end")
    finally:
        for launcher in both:
            launcher.kill()


def test_a_daemon_of_its_own_that_dies_is_started_again_while_the_command_runs(endpoint: str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    launcher = spawn(run_line("sh", "-c", f"echo begun; {WAIT.format(go)}; exit 4"), tmp_path / "out")
    try:
        launcher.wait_out("begun", 30)
        killed = answering(endpoint, launcher)
        os.kill(killed, signal.SIGKILL)
        again = answering(endpoint, launcher, other_than=killed)
        go.touch()
        assert launcher.wait(30) == 4
        wait_until(gone(again), 10, "the second daemon's end")
    finally:
        launcher.kill()


def test_a_daemon_of_its_own_that_died_at_the_very_end_is_started_again_for_the_delivery(
    endpoint: str, tmp_path: Path
) -> None:
    killing = f"echo begun; {WAIT.format(tmp_path / 'go')}; kill -9 $(cat {tmp_path / 'pid'}); exit 5"
    launcher = spawn(run_line("sh", "-c", killing), tmp_path / "out")
    try:
        launcher.wait_out("begun", 30)
        (tmp_path / "pid").write_text(str(answering(endpoint, launcher)))
        (tmp_path / "go").touch()
        assert launcher.wait(60) == 5
    finally:
        launcher.kill()
    assert "does not answer" not in launcher.err()


def test_a_daemon_that_ends_at_its_start_is_told_with_the_end_of_its_log(
    isolated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'serve' in sys.orig_argv: sys.exit('a machine without luck')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = subprocess.run(run_line("sh", "-c", "exit 7"), capture_output=True, text=True, timeout=60)
    assert done.returncode == 7
    assert "the daemon ended at its start with exit code 1" in done.stderr
    assert f"its log {isolated}/state/telemetryd/daemon.log says" in done.stderr
    assert "a machine without luck" in done.stderr
    assert done.stderr.count("no daemon:") == 1


def test_an_interrupt_while_the_daemon_starts_ends_launcher_and_daemon_and_starts_no_command(
    isolated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys, time\nif 'serve' in sys.orig_argv: open('{tmp_path}/starting', 'w'); time.sleep(1000)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    launcher = spawn(run_line("touch", tmp_path / "started"), tmp_path / "out")
    try:
        wait_until((tmp_path / "starting").exists, 30, launcher.told)
        os.kill(launcher.pid, signal.SIGTERM)
        assert launcher.wait(30) == 128 + signal.SIGTERM
    finally:
        launcher.kill()
    assert not (tmp_path / "started").exists()
    wait_until(lambda: not daemons(isolated), 10, "the daemon's end")


def test_the_settings_of_run_are_those_of_its_daemon(isolated: Path, tmp_path: Path) -> None:
    own = f"ipc://{isolated}/run/own.sock"
    state = isolated / "own-state"
    options = ("--endpoint", own, "--state-dir", str(state), "--late", "drop")
    go = tmp_path / "go"
    launcher = spawn(run_line("sh", "-c", f"echo begun; {WAIT.format(go)}", options=options), tmp_path / "out")
    try:
        launcher.wait_out("begun", 30)
        told = ping(own)
        assert told is not None
        assert (told["state_dir"], told["spool_dir"]) == (str(state), str(state / "spool"))
        assert "--late drop" in command_line(int(str(told["pid"])))
        go.touch()
        assert launcher.wait(30) == 0
    finally:
        launcher.kill()


def test_a_daemon_whose_launcher_was_killed_ends_with_the_command(endpoint: str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    launcher = spawn(run_line("sh", "-c", f"echo begun; {WAIT.format(go)}"), tmp_path / "out")
    try:
        launcher.wait_out("begun", 30)
        pid = answering(endpoint, launcher)
        os.kill(launcher.pid, signal.SIGKILL)
        launcher.wait(10)
        go.touch()
        wait_until(gone(pid), 30, "the daemon's end")
    finally:
        launcher.kill()


def test_a_daemon_that_was_there_before_lives_on(daemon: Daemon) -> None:
    pid = daemon.pid
    assert subprocess.run(run_line("true"), timeout=60).returncode == 0
    assert daemon.ask("ping")["pid"] == pid


def test_a_second_serve_on_the_same_endpoint_is_refused_and_says_what_to_do(daemon: Daemon, isolated: Path) -> None:
    line = python("-m", "telemetryd", "serve", "--endpoint", daemon.endpoint, "--state-dir", isolated / "other")
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == exit_codes.ALREADY_SERVING
    assert (
        f"a daemon (process {daemon.pid}, state in {daemon.state_dir}) serves {daemon.endpoint} already" in done.stderr
    )
    assert "choose another --endpoint and --state-dir" in done.stderr
    assert daemon.ask("ping")["pid"] == daemon.pid


def test_a_second_serve_on_the_same_state_folder_is_refused_and_says_what_to_do(daemon: Daemon, isolated: Path) -> None:
    line = python("-m", "telemetryd", "serve", "--endpoint", f"ipc://{isolated}/run/other.sock")
    done = subprocess.run([*line, "--state-dir", str(daemon.state_dir)], capture_output=True, text=True, timeout=60)
    assert done.returncode == exit_codes.ALREADY_SERVING
    assert str(daemon.state_dir) in done.stderr
    assert "--state-dir" in done.stderr


def test_a_daemon_stops_when_told_to_with_exit_code_zero(daemon: Daemon) -> None:
    assert daemon.stop() == 0
