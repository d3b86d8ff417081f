"""Signals and the terminal: the command gets every signal once, and has the terminal it would have without us."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import command_line, descendants, python, spawn, wait_until
from tests.support.terminal import Terminal
from tests.support.wire_daemon import WireDaemon

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

COUNTER = """
import os, signal, sys, time
counts = {}
def count(signum, frame):
    counts[signum] = counts.get(signum, 0) + 1
    print("got", signal.Signals(signum).name, counts[signum], flush=True)
for signum in (1, 2, 3, 10, 12, 15):
    signal.signal(signum, count)
print("ready", os.getpid(), flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
print("end", sum(counts.values()), flush=True)
sys.exit(40 + sum(counts.values()))
"""
"""Counts every signal, until the file that it is given exists."""


@pytest.fixture
def fake(isolated: Path) -> Iterator[WireDaemon]:
    state = isolated / "state" / "telemetryd"
    with WireDaemon(
        f"ipc://{isolated}/run/telemetryd/daemon.sock", state_dir=state, spool_dir=state / "spool"
    ) as daemon:
        yield daemon


def run_line(*command: str | Path) -> list[str]:
    return python("-m", "telemetryd", "run", "--", *command)


@pytest.mark.parametrize("signum", FORWARDED, ids=lambda signum: signum.name)
def test_a_signal_sent_to_the_launcher_reaches_the_command_once(
    fake: WireDaemon, tmp_path: Path, signum: signal.Signals
) -> None:
    launcher = spawn(run_line(sys.executable, "-c", COUNTER, tmp_path / "enough"), tmp_path / "out")
    try:
        launcher.wait_out("ready", 30)
        os.kill(launcher.pid, signum)
        launcher.wait_out(f"got {signum.name} 1\n", 30)
        (tmp_path / "enough").touch()
        assert launcher.wait(30) == 41
    finally:
        launcher.kill()
    assert "end 1\n" in launcher.out()
    assert fake.end().exit_code == 41


def test_a_signal_that_ends_the_command_is_its_exit_code(fake: WireDaemon, tmp_path: Path) -> None:
    launcher = spawn(run_line("sh", "-c", "echo ready; exec sleep 1000"), tmp_path / "out")
    try:
        launcher.wait_out("ready", 30)
        os.kill(launcher.pid, signal.SIGTERM)
        assert launcher.wait(30) == 128 + signal.SIGTERM
    finally:
        launcher.kill()


def test_the_command_inherits_neither_the_launchers_mask_nor_what_python_ignores(fake: WireDaemon) -> None:
    line = run_line("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status")
    told = subprocess.run(line, capture_output=True, text=True, timeout=60).stdout
    masks = {name.rstrip(":"): int(mask, 16) for name, mask in (line.split() for line in told.splitlines())}
    assert masks["SigBlk"] == 0
    # What whoever started the tests ignores (nohup: SIGHUP) is the command's too; what Python ignores is not.
    own = re.search(r"SigIgn:\s*(\w+)", Path("/proc/self/status").read_text())
    assert own is not None
    inherited = int(own[1], 16) & ~sum(1 << (signum - 1) for signum in (signal.SIGPIPE, signal.SIGXFSZ))
    # 32 and 33 belong to the C library, which starts a process with them ignored and sets them when it needs them.
    assert masks["SigIgn"] & ~(0b11 << 31) & ~inherited == 0


def test_an_interrupt_before_the_command_is_started_ends_the_launcher(isolated: Path, tmp_path: Path) -> None:
    fake = WireDaemon(f"ipc://{isolated}/run/telemetryd/daemon.sock")
    fake.mute = True
    with fake:
        launcher = spawn(run_line("touch", tmp_path / "started"), tmp_path / "out")
        try:
            wait_until(lambda: fake.heard, 30, launcher.told)
            os.kill(launcher.pid, signal.SIGINT)
            assert launcher.wait(30) == 128 + signal.SIGINT
        finally:
            launcher.kill()
    assert not (tmp_path / "started").exists()


AS_FIRST = ("unshare", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child")
"""Makes a command the first process of a container of its own, as far as processes go."""

ORPHANS = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *args: sys.exit(9))
for _ in range(5):
    subprocess.run(["sh", "-c", "sleep 0.1 &"], check=True)
def left():
    return subprocess.run(["ps", "-A", "-o", "comm="], capture_output=True, text=True).stdout.count("sleep")
while left():
    time.sleep(0.05)
print("all gone", flush=True)
while True:
    time.sleep(1)
"""


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run([*AS_FIRST, "true"], capture_output=True).returncode != 0,
    reason="process namespaces cannot be made here",
)
def test_as_a_containers_first_process_it_forwards_signals_and_reaps_orphans(fake: WireDaemon, tmp_path: Path) -> None:
    launcher = spawn([*AS_FIRST, *run_line(sys.executable, "-c", ORPHANS)], tmp_path / "out")
    try:
        launcher.wait_out("all gone", 30)
        (first,) = (pid for pid in descendants(launcher.pid) if "-m telemetryd run" in command_line(pid))
        os.kill(first, signal.SIGTERM)
        assert launcher.wait(30) == 9
    finally:
        launcher.kill()


def test_what_is_typed_at_the_terminal_reaches_the_command_once(fake: WireDaemon, tmp_path: Path) -> None:
    with Terminal(run_line(sys.executable, "-c", COUNTER, tmp_path / "enough")) as terminal:
        terminal.wait_for("ready")
        terminal.type("\x03")
        terminal.wait_for("got SIGINT 1")
        terminal.type("\x1c")
        terminal.wait_for("got SIGQUIT 1")
        (tmp_path / "enough").touch()
        assert terminal.wait() == 42
    assert "end 2" in terminal.text


def test_a_signal_sent_to_the_launcher_at_a_terminal_is_forwarded_too(fake: WireDaemon, tmp_path: Path) -> None:
    with Terminal(run_line(sys.executable, "-c", COUNTER, tmp_path / "enough")) as terminal:
        terminal.wait_for("ready")
        os.kill(terminal.process.pid, signal.SIGINT)
        terminal.wait_for("got SIGINT 1")
        (tmp_path / "enough").touch()
        assert terminal.wait() == 41


def test_an_interrupt_typed_at_the_terminal_reaches_a_command_in_a_group_of_its_own(
    fake: WireDaemon, tmp_path: Path
) -> None:
    own_group = "import os; os.setpgid(0, 0)\n" + COUNTER
    with Terminal(run_line(sys.executable, "-c", own_group, tmp_path / "enough")) as terminal:
        terminal.wait_for("ready")
        terminal.type("\x03")
        terminal.wait_for("got SIGINT 1")
        (tmp_path / "enough").touch()
        assert terminal.wait() == 41


def test_a_shell_stops_and_continues_launcher_and_command_as_one_job(fake: WireDaemon, tmp_path: Path) -> None:
    ticking = tmp_path / "tick.sh"
    ticking.write_text(f"echo begun; while ! test -e {tmp_path}/enough; do sleep 0.05; done; echo 'it' ended\n")
    with Terminal(["bash", "--norc", "-i"], env={"PS1": "$ "}) as terminal:
        terminal.wait_for("$ ")
        terminal.type(" ".join(run_line("sh", ticking)) + "\n")
        seen = terminal.wait_for("begun")
        terminal.type("\x1a")
        seen = terminal.wait_for("Stopped", after=seen)
        (tmp_path / "enough").touch()
        terminal.type("echo at the 'shell'\n")
        seen = terminal.wait_for("at the shell", after=seen)
        assert "it ended" not in terminal.text
        terminal.type("fg\n")
        seen = terminal.wait_for("it ended", after=seen)
        terminal.type("echo code $?.\n")
        terminal.wait_for("code 0.", after=seen)


def test_a_terminal_is_one_for_the_command_and_shows_what_it_would_show(fake: WireDaemon) -> None:
    script = "import os\nprint([os.isatty(n) for n in (0, 1, 2)], os.get_terminal_size(1), os.get_terminal_size(2))"
    with Terminal(run_line(sys.executable, "-c", script), size=(31, 77)) as terminal:
        assert terminal.wait() == 0
    size = "os.terminal_size(columns=77, lines=31)"
    assert f"[True, True, True] {size} {size}\r\n" in terminal.text
    assert "\r\r\n" not in terminal.text
    assert fake.text("stdout").startswith("[True, True, True]")
    assert fake.text("stdout").endswith("\n")


def test_only_the_stream_that_is_redirected_is_no_terminal(fake: WireDaemon, tmp_path: Path) -> None:
    script = "import os, sys\nprint([os.isatty(n) for n in (0, 1, 2)], file=sys.stderr)"
    line = " ".join(run_line("python3", "-c", f"'{script}'")) + f" > {tmp_path}/out"
    with Terminal(["sh", "-c", line]) as terminal:
        assert terminal.wait() == 0
    assert "[True, False, True]" in terminal.text


def test_the_command_is_told_the_terminals_new_size(fake: WireDaemon) -> None:
    script = (
        "import os, signal, time\n"
        "size = lambda: tuple(os.get_terminal_size(1))\n"
        "old = size(); print('old', old, flush=True)\n"
        "signal.signal(signal.SIGWINCH, lambda *a: size() != old and (print('new', size(), flush=True), os._exit(0)))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(1)\n"
    )
    with Terminal(run_line(sys.executable, "-c", script), size=(24, 80)) as terminal:
        terminal.wait_for("ready")
        terminal.resize(50, 132)
        terminal.wait_for("new (132, 50)")
        assert terminal.wait() == 0


def test_keys_reach_the_command(fake: WireDaemon) -> None:
    with Terminal(run_line("sh", "-c", 'read -r line; echo "read <$line>"')) as terminal:
        terminal.type("hello\n")
        terminal.wait_for("read <hello>")
        assert terminal.wait() == 0


@pytest.mark.parametrize("columns", [60, 100, 200])
def test_a_terminal_shows_a_bar_while_rows_are_delivered_and_takes_it_away(
    fake: WireDaemon, tmp_path: Path, columns: int
) -> None:
    done = tmp_path / "done"
    run = {"key": "//abc", "offered": 1000, "dropped": {}, "mode": "offline", "exit_code": 0}

    def answer(args: dict[str, object]) -> dict[str, object]:
        left = 0 if done.exists() else 400
        state = "running" if left else "finished"
        return {"runs": [{**run, "state": state, "delivered": 1000 - left, "pending": left}], "settled": not left}

    fake.replies["launch"] = answer
    with Terminal(run_line("true"), size=(24, columns)) as terminal:
        terminal.wait_for("600/1,000 rows")
        assert "━" in terminal.text
        done.touch()
        seen = terminal.wait_for("finished")
        assert terminal.wait() == 0
    assert "━" not in terminal.text[seen:]
    assert "1,000 offered = 1,000 delivered" in terminal.text
