"""`telemetryd top` in a terminal: it follows a run, keeps to the screen's size, and gives the terminal back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

import client
from telemetryd.cli import exit_codes
from tests.support.daemon import Daemon
from tests.support.processes import wait_until
from tests.support.terminal import Terminal

TOP = [sys.executable, "-m", "telemetryd", "top", "--interval", "0.3"]
ENTER, LEAVE, SHOW_CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"


def is_echoing(terminal: Terminal) -> bool:
    return bool(termios.tcgetattr(terminal.outer)[3] & termios.ECHO)


def assert_given_back(terminal: Terminal) -> None:
    """The other screen is left, the cursor shows, and keys are echoed again."""
    assert terminal.seen.rfind(LEAVE) > terminal.seen.rfind(ENTER) >= 0
    assert terminal.seen.rfind(SHOW_CURSOR) > terminal.seen.rfind(b"\x1b[?25l")
    assert is_echoing(terminal)
    assert "Traceback" not in terminal.text


def test_a_run_is_followed_and_the_screens_size_is_kept_to(daemon: Daemon, isolated: Path) -> None:
    run = client.init(project="p", id="r1", name="the-run", mode="offline")
    run.log({"loss": 0.25})
    with Terminal(TOP, size=(30, 120)) as terminal:
        terminal.wait_for("the-run")
        terminal.wait_for("0.25")
        run.log({"loss": 0.125})
        terminal.wait_for("0.125")
        assert not is_echoing(terminal)
        terminal.resize(12, 60)
        after = len(terminal.seen)
        terminal.wait_for(LEAVE_LINE, after=after)
        daemon.kill()
        terminal.wait_for("no daemon answers")
        daemon.start()
        terminal.wait_for("the-run", after=len(terminal.seen))
        terminal.type("\x1b[A")  # an arrow is no escape
        terminal.type("q")
        assert terminal.wait() == exit_codes.OK
        assert_given_back(terminal)
    run.finish()
    daemon.wait_status(lambda status: status["runs"][0]["state"] == "finished", 60)
    wait_until(lambda: not daemon.workers(), 60, "the end of the run worker, which leaves nothing behind then")


LEAVE_LINE = "q leaves"


@pytest.mark.parametrize("way", ["^C", "SIGTERM", "SIGHUP", "escape"])
def test_the_terminal_is_given_back_however_it_ends(daemon: Daemon, way: str) -> None:
    with Terminal(TOP) as terminal:
        terminal.wait_for("no runs yet")
        if way.startswith("SIG"):
            os.kill(terminal.process.pid, signal.Signals[way])
        else:
            terminal.type("\x03" if way == "^C" else "\x1b")
        assert terminal.wait() == exit_codes.OK
        assert_given_back(terminal)


def test_it_stops_and_goes_on_as_any_program(daemon: Daemon) -> None:
    def state() -> str:
        return Path(f"/proc/{terminal.process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    with Terminal(TOP) as terminal:
        terminal.wait_for("no runs yet")
        terminal.type("\x1a")
        terminal.wait_for(LEAVE.decode())
        wait_until(lambda: state() == "T", 30, state)
        assert_given_back(terminal)
        after = len(terminal.seen)
        os.kill(terminal.process.pid, signal.SIGCONT)
        terminal.wait_for("no runs yet", after=after)
        assert not is_echoing(terminal)
        terminal.type("q")
        assert terminal.wait() == exit_codes.OK
        assert_given_back(terminal)


def once(*arguments: str) -> tuple[int, str]:
    done = subprocess.run([*TOP, *arguments], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_one_frame_goes_into_a_pipe(daemon: Daemon) -> None:
    code, told = once("--once")
    assert code == exit_codes.OK
    assert "no runs yet" in told
    assert "\x1b" not in told
    assert once()[0] == exit_codes.OK  # a pipe is no terminal: the same


def test_without_a_daemon_one_frame_says_so(isolated: Path) -> None:
    code, told = once("--once")
    assert code == exit_codes.NO_DAEMON
    assert "no daemon answers at ipc://" in told
