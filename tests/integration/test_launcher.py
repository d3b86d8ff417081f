"""`telemetryd run` as a process, against a daemon's wire side: exit codes, output, environment, drain and summary."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.journal import folder as spool_folder
from client.protocol import records
from client.protocol.messages import Hello
from tests.support.base_install import with_the_base_alone
from tests.support.processes import alive, kill_tree, python, spawn, wait_until
from tests.support.wire_daemon import WireDaemon

RUN = {
    "key": "me/digits/ab12cd34",
    "name": "first-try",
    "state": "finished",
    "offered": 1240,
    "delivered": 1238,
    "dropped": {"late": 2},
    "pending": 0,
    "mode": "offline",
    "directory": "/somewhere/with a blank/offline-run-20260101_000000-ab12cd34",
    "exit_code": 0,
}


@pytest.fixture
def fake(isolated: Path) -> Iterator[WireDaemon]:
    state = isolated / "state" / "telemetryd"
    with WireDaemon(
        f"ipc://{isolated}/run/telemetryd/daemon.sock", state_dir=state, spool_dir=state / "spool"
    ) as daemon:
        yield daemon


def launch(*command: str | Path, options: tuple[str, ...] = (), **kept: Any) -> subprocess.CompletedProcess[bytes]:
    line = python("-m", "telemetryd", "run", *options, "--", *command)
    return subprocess.run(line, capture_output=True, timeout=60, stdin=subprocess.DEVNULL, **kept)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("pass", 0),
        ("import sys; sys.exit(3)", 3),
        ("raise ValueError('broken')", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143),
        ("import os; os._exit(255)", 255),
    ],
)
def test_the_exit_code_is_the_commands_and_the_daemon_is_told_it(fake: WireDaemon, script: str, code: int) -> None:
    assert launch(sys.executable, "-c", script).returncode == code
    assert fake.end().exit_code == code
    assert fake.end().implicit is False


def test_a_command_that_does_not_exist_is_127(fake: WireDaemon) -> None:
    done = launch("no-such-command-anywhere")
    assert done.returncode == 127
    assert b"telemetryd: no-such-command-anywhere: command not found on PATH" in done.stderr
    assert fake.end().exit_code == 127


def test_a_command_that_cannot_be_executed_is_126(fake: WireDaemon, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    done = launch(tmp_path / "script")
    assert done.returncode == 126
    assert b"not executable (chmod +x it" in done.stderr


def test_output_is_shown_as_it_is_and_recorded(fake: WireDaemon) -> None:
    done = launch("sh", "-c", "echo to stdout; echo to stderr >&2")
    assert done.stdout == b"to stdout\n"
    assert done.stderr == b"to stderr\n"
    assert fake.text("stdout") == "to stdout\n"
    assert fake.text("stderr") == "to stderr\n"


def test_a_character_cut_in_two_writes_is_recorded_whole_and_bytes_that_are_no_text_are_shown_as_they_are(
    fake: WireDaemon,
) -> None:
    script = (
        "import os, sys, time; data = 'ä€😀'.encode() + b'\\xff|'\n"
        "for n in range(len(data)): os.write(1, data[n:n+1]); time.sleep(0.1 if n % 3 == 0 else 0)\n"
    )
    done = launch(sys.executable, "-c", script)
    assert done.stdout == "ä€😀".encode() + b"\xff|"
    assert fake.text("stdout") == "ä€😀\N{REPLACEMENT CHARACTER}|"


def test_much_output_comes_through_whole_in_few_records(fake: WireDaemon) -> None:
    script = "import sys\nfor n in range(200_000): sys.stdout.write(f'line {n} of many\\n')"
    done = launch(sys.executable, "-c", script)
    expected = "".join(f"line {n} of many\n" for n in range(200_000))
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(expected.encode()).digest()
    assert fake.text("stdout") == expected
    assert len([r for r in fake.of_console() if isinstance(r, records.Output)]) < 2_000


def test_output_is_recorded_while_the_command_still_runs(fake: WireDaemon, tmp_path: Path) -> None:
    command = ["sh", "-c", f"echo early; while ! test -e {tmp_path}/go; do sleep 0.05; done; echo late"]
    launcher = spawn(python("-m", "telemetryd", "run", "--", *command), tmp_path / "out")
    try:
        wait_until(lambda: fake.consoles() and fake.text("stdout") == "early\n", 30, "the early line")
        assert launcher.out() == "early\n"
        (tmp_path / "go").touch()
        assert launcher.wait(30) == 0
    finally:
        launcher.kill()
    assert fake.text("stdout") == "early\nlate\n"


def test_the_command_learns_where_its_telemetry_goes_and_which_launch_it_is(fake: WireDaemon, isolated: Path) -> None:
    done = launch("env", env={**os.environ, "TELEMETRYD_LAUNCH": "0" * 32})
    told = dict(line.split("=", 1) for line in done.stdout.decode().splitlines() if line.startswith("TELEMETRYD_"))
    (console,) = fake.consoles()
    assert told["TELEMETRYD_LAUNCH"] == console.launch
    assert console.launch != "0" * 32
    assert len(bytes.fromhex(console.launch or "")) == 16
    assert told["TELEMETRYD_ENDPOINT"] == fake.endpoint
    assert told["TELEMETRYD_STATE_DIR"] == str(isolated / "state" / "telemetryd")
    assert told["TELEMETRYD_SPOOL_DIR"] == str(isolated / "state" / "telemetryd" / "spool")


def test_the_command_spools_where_the_daemon_that_answers_looks_unless_told_otherwise(
    fake: WireDaemon, isolated: Path
) -> None:
    theirs = isolated / "theirs"
    theirs.mkdir()
    fake.replies["ping"] = lambda args: {"pid": 1, "state_dir": "/else", "spool_dir": str(theirs)}
    show = ("sh", "-c", "echo $TELEMETRYD_SPOOL_DIR")
    assert launch(*show).stdout.decode().strip() == str(theirs)
    mine = str(isolated / "mine")
    assert launch(*show, options=("--spool-dir", mine)).stdout.decode().strip() == mine


def test_a_state_folder_that_the_daemon_does_not_use_is_told(fake: WireDaemon, isolated: Path) -> None:
    done = launch("true", options=("--state-dir", str(isolated / "mine")))
    assert f"keeps its state in {isolated}/state/telemetryd, not in {isolated}/mine".encode() in done.stderr


def test_inherited_descriptors_and_the_working_folder_are_the_commands_too(fake: WireDaemon, tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    try:
        done = launch("sh", "-c", f"pwd; echo through > /dev/fd/{write_end}", pass_fds=(write_end,), cwd=tmp_path)
        assert (done.returncode, done.stdout.decode().strip()) == (0, str(tmp_path)), done.stderr
        assert os.read(read_end, 100) == b"through\n"
    finally:
        os.close(read_end)
        os.close(write_end)


def test_a_daemon_that_was_there_before_is_never_retired(fake: WireDaemon) -> None:
    assert launch("true").returncode == 0
    assert fake.kinds()[0] == "ping"
    assert "retire" not in fake.kinds()


def test_the_summary_says_what_became_of_the_rows_where_the_run_is_and_what_to_do_next(fake: WireDaemon) -> None:
    fake.replies["launch"] = lambda args: {"runs": [RUN], "settled": True}
    told = launch("true").stderr.decode()
    assert "telemetryd: run first-try (ab12cd34) finished, exit code 0\n" in told
    assert "rows     1,240 offered = 1,238 delivered + 2 dropped (late 2) + 0 pending\n" in told
    assert f"where    {RUN['directory']}\n" in told
    assert f"wandb leet '{RUN['directory']}'\n" in told
    assert f"wandb sync '{RUN['directory']}'\n" in told


def test_an_online_run_is_shown_with_its_url_and_needs_no_sync(fake: WireDaemon) -> None:
    url = "https://wandb.ai/me/digits/runs/ab12cd34"
    online = {**RUN, "mode": "online", "url": url}
    fake.replies["launch"] = lambda args: {"runs": [online], "settled": True}
    told = launch("true").stderr.decode()
    assert f"where    {url}\n" in told
    assert "wandb sync" not in told


def test_the_launcher_waits_until_everything_is_delivered(fake: WireDaemon) -> None:
    left = [300, 200, 100, 0]

    def answer(args: dict[str, Any]) -> dict[str, Any]:
        pending = left.pop(0) if len(left) > 1 else left[0]
        run = {**RUN, "state": "finished" if not pending else "running", "pending": pending}
        return {"runs": [run], "settled": not pending}

    fake.replies["launch"] = answer
    done = launch("sh", "-c", "exit 9")
    assert done.returncode == 9
    assert fake.kinds().count("launch") == 4
    assert b"+ 0 pending" in done.stderr
    (console,) = fake.consoles()
    assert {ask.args["launch"] for ask in fake.asks if ask.kind == "launch"} == {console.launch}


def test_what_is_pending_after_the_drain_timeout_is_told_and_the_exit_code_kept(fake: WireDaemon) -> None:
    waiting = {**RUN, "state": "retrying", "pending": 188, "trouble": "W&B answers 503", "exit_code": None}
    fake.replies["launch"] = lambda args: {"runs": [waiting], "settled": False}
    done = launch("sh", "-c", "exit 4", options=("--drain-timeout", "1.5"))
    told = done.stderr.decode()
    assert done.returncode == 4
    assert "the command has ended; delivering 188 rows, for up to 1.5 s" in told
    assert "run first-try (ab12cd34) not finished yet\n" in told
    assert "trouble  W&B answers 503\n" in told
    assert "188 rows still pending after 1." in told
    assert "`telemetryd status` shows how far it is" in told


def test_a_drain_timeout_of_zero_asks_once_and_leaves(fake: WireDaemon) -> None:
    fake.replies["launch"] = lambda args: {"runs": [RUN], "settled": False}
    assert launch("true", options=("--drain-timeout", "0")).returncode == 0
    assert fake.kinds().count("launch") == 1


def test_a_journal_of_this_launch_in_the_spool_is_waited_for(fake: WireDaemon, isolated: Path) -> None:
    spool = isolated / "state" / "telemetryd" / "spool"

    def answer(args: dict[str, Any]) -> dict[str, Any]:
        if fake.kinds().count("launch") == 1:  # as if the command had been killed before the daemon heard of it
            _, lock = spool_folder.create(spool, Hello("ab" * 16, launch=args["launch"]))
            lock.release()
        elif fake.kinds().count("launch") == 3:
            spool_folder.remove(spool / ("ab" * 16))
        return {"runs": [], "settled": True}

    fake.replies["launch"] = answer
    assert launch("true").returncode == 0
    assert fake.kinds().count("launch") == 3


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_it_waits_for_delivery_leaves_the_rest_to_the_daemon(
    fake: WireDaemon, tmp_path: Path, signum: int
) -> None:
    fake.replies["launch"] = lambda args: {"runs": [{**RUN, "state": "running", "pending": 7}], "settled": False}
    launcher = spawn(python("-m", "telemetryd", "run", "--", "sh", "-c", "exit 5"), tmp_path / "out")
    try:
        wait_until(lambda: "delivering 7 rows" in launcher.err(), 30, launcher.told)
        os.kill(launcher.pid, signum)
        assert launcher.wait(30) == 5
    finally:
        launcher.kill()
    assert "7 rows still pending when interrupted." in launcher.err()


def test_a_daemon_that_goes_away_during_the_drain_is_told(fake: WireDaemon) -> None:
    def answer(args: dict[str, Any]) -> None:
        fake._stop.set()

    fake.replies["ping"] = lambda args: {"pid": 1, "state_dir": "/another's", "spool_dir": ""}
    fake.replies["launch"] = answer
    done = launch("sh", "-c", "exit 6")
    assert done.returncode == 6
    assert b"does not answer any more" in done.stderr
    assert b"`telemetryd serve` delivers it" in done.stderr


def test_a_daemon_on_the_same_state_that_goes_away_during_the_drain_is_replaced(
    fake: WireDaemon, isolated: Path
) -> None:
    def answer(args: dict[str, Any]) -> None:
        fake._stop.set()

    fake.replies["launch"] = answer
    done = launch("sh", "-c", "exit 6")
    assert done.returncode == 6
    assert b"does not answer" not in done.stderr
    assert "retiring" in (isolated / "state" / "telemetryd" / "daemon.log").read_text()


def test_without_a_daemon_that_can_be_started_the_command_runs_and_is_warned_once(isolated: Path) -> None:
    (isolated / "state" / "telemetryd").write_text("a file where the folder should be")
    done = launch("sh", "-c", "echo trained; exit 7")
    told = done.stderr.decode()
    assert (done.returncode, done.stdout) == (7, b"trained\n")
    assert told.count("no daemon:") == 1
    assert "choose another with --state-dir or TELEMETRYD_STATE_DIR" in told
    assert "the command runs all the same; what it logs is kept in memory alone and lost at its end" in told


def test_the_base_installation_is_enough_beside_a_daemon_that_answers(fake: WireDaemon) -> None:
    fake.replies["launch"] = lambda args: {"runs": [RUN], "settled": True}
    done = with_the_base_alone("run", "--", "sh", "-c", "echo trained; exit 3")
    assert (done.returncode, done.stdout) == (3, "trained\n")
    assert "run first-try (ab12cd34) finished" in done.stderr


def test_the_base_installation_beside_a_daemon_that_is_stuck_runs_the_command_all_the_same(fake: WireDaemon) -> None:
    fake.mute = True
    done = with_the_base_alone("run", "--", "sh", "-c", "echo trained; exit 3")
    assert (done.returncode, done.stdout) == (3, "trained\n")
    assert "the command runs all the same" in done.stderr
    fake.mute = False


def test_a_daemon_that_does_not_answer_holds_the_command_up_for_seconds_only(fake: WireDaemon) -> None:
    fake.mute = True
    done = launch("sh", "-c", "exit 8")
    assert done.returncode == 8
    assert b"listens at " in done.stderr
    assert b"does not answer" in done.stderr
    fake.mute = False


def test_a_reader_that_goes_away_ends_the_command_as_without_a_launcher(fake: WireDaemon) -> None:
    line = python("-m", "telemetryd", "run", "--", "yes")
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.read(4) == b"y\ny\n"
        launcher.stdout.close()
        assert launcher.wait(30) == 128 + signal.SIGPIPE


def test_a_slow_reader_of_stdout_does_not_hold_up_stderr(fake: WireDaemon) -> None:
    script = "echo ready >&2; head -c 1000000 /dev/zero; echo done >&2"
    line = python("-m", "telemetryd", "run", "--", "sh", "-c", f"({script}) & echo still >&2; wait")
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as launcher:
        assert launcher.stdout is not None
        assert launcher.stderr is not None
        assert {launcher.stderr.readline(), launcher.stderr.readline()} == {b"ready\n", b"still\n"}
        assert len(launcher.stdout.read()) == 1_000_000
        assert launcher.wait(30) == 0
        assert launcher.stderr.read() == b"done\n"


def test_what_the_command_leaves_in_the_background_does_not_hold_the_launcher(fake: WireDaemon) -> None:
    done = launch("sh", "-c", "sleep 1000 & echo $!")
    assert done.returncode == 0
    left = int(done.stdout)
    assert alive(left)
    kill_tree(left)


def test_closed_standard_descriptors_are_no_trouble(fake: WireDaemon) -> None:
    line = f"{sys.executable} -m telemetryd run -- sh -c 'exit 3' 0<&- 1>&- 2>&-"
    assert subprocess.run(["sh", "-c", line], timeout=60).returncode == 3
    assert fake.end().exit_code == 3
