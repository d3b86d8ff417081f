"""What training prints is shown as ever and is in the run: by both modes, from children and C code, through crashes."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from telemetryd.runs import wandb_file
from tests.support.daemon import Daemon
from tests.support.processes import Spawned, alive, command_line, descendants, python, spawn, wait_until

SETTLE_DEADLINE_S = 60.0
INIT = "import client\nrun = client.init(project='p', id='console', mode='offline', settings={'console': MODE})\n"

EVERYTHING = """
import ctypes, os, subprocess, sys
print("python line")
sys.stdout.flush()
ctypes.CDLL(None).puts(b"from C")
ctypes.CDLL(None).fflush(None)
os.system("echo from a child; echo child error >&2")
pid = os.fork()
if pid == 0:
    print("forked child", flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print("to stderr", file=sys.stderr)
for i in range(3):
    print(f"\\rbar {i}", end="", flush=True)
print()
run.log({"a": 1})
"""


def start(mode: str, body: str, folder: Path, **environ: str) -> Spawned:
    script = folder / "train.py"
    script.write_text(INIT.replace("MODE", repr(mode)) + body)
    return spawn(python(script), folder / "train", env=environ)


def settled(daemon: Daemon) -> None:
    """Until every run has ended, and its worker has left nothing behind."""
    daemon.wait_status(
        lambda status: status["runs"] and all(run["state"] == "finished" for run in status["runs"]), SETTLE_DEADLINE_S
    )
    wait_until(lambda: not daemon.workers(), SETTLE_DEADLINE_S, "the end of the run workers")


def recorded(isolated: Path) -> dict[str, str]:
    """The text of each stream in the run's file, and output.log under "log"."""
    (file,) = isolated.glob("runs/wandb/*run-*/*.wandb")
    streams = {"stdout": "", "stderr": ""}
    for record in wandb_file.records(file):
        if record.WhichOneof("record_type") == "output_raw":
            name = "stderr" if record.output_raw.output_type == record.output_raw.STDERR else "stdout"
            streams[name] += record.output_raw.line
    log = file.parent / "files" / "output.log"
    return {**streams, "log": log.read_text() if log.exists() else ""}


def test_redirect_records_python_c_and_children_and_shows_them_as_ever(
    daemon: Daemon, isolated: Path, tmp_path: Path
) -> None:
    training = start("redirect", EVERYTHING + "run.finish(quiet=True)\nprint('after')\n", tmp_path)
    assert training.wait(60) == 0, training.told()
    settled(daemon)
    said = recorded(isolated)
    lines = ["python line", "from C", "from a child", "forked child", "\rbar 0\rbar 1\rbar 2", ""]
    assert said["stdout"] == "\n".join(lines)
    assert said["stderr"] == "child error\nto stderr\n"
    assert "bar 2" in said["log"]
    assert "bar 1" not in said["log"], "a progress bar is one line"
    assert training.out() == said["stdout"].replace("\r", "\n") + "after\n"  # as a text file is read
    assert training.err().startswith(said["stderr"])


def test_wrap_records_what_python_prints_and_nothing_else(daemon: Daemon, isolated: Path, tmp_path: Path) -> None:
    training = start("auto", EVERYTHING + "run.finish(quiet=True)\nprint('after')\n", tmp_path)
    assert training.wait(60) == 0, training.told()
    settled(daemon)
    said = recorded(isolated)
    assert said["stdout"] == "python line\n\rbar 0\rbar 1\rbar 2\n"
    assert said["stderr"] == "to stderr\n"
    assert "from C\nfrom a child\nforked child\n" in training.out()


def test_a_segmentation_fault_s_traceback_is_shown_and_in_the_run(
    daemon: Daemon, isolated: Path, tmp_path: Path
) -> None:
    body = "import ctypes, faulthandler\nfaulthandler.enable()\nprint('last words', flush=True)\nctypes.string_at(0)\n"
    training = start("redirect", body, tmp_path)
    assert training.wait(60) == -signal.SIGSEGV
    wait_until(lambda: "Segmentation fault" in training.err(), 20, training.told)
    settled(daemon)
    said = recorded(isolated)
    assert said["stdout"] == "last words\n"
    assert "Fatal Python error: Segmentation fault" in said["stderr"]
    assert "train.py" in said["stderr"]


@pytest.mark.parametrize("mode", ["wrap", "redirect"])
def test_an_exception_ends_the_run_s_output_though_nobody_finished_it(
    mode: str, daemon: Daemon, isolated: Path, tmp_path: Path
) -> None:
    training = start(mode, "print('before')\nraise RuntimeError('training broke')\n", tmp_path)
    assert training.wait(60) == 1
    settled(daemon)
    said = recorded(isolated)
    assert said["stdout"] == "before\n"
    assert said["stderr"].endswith("RuntimeError: training broke\n")
    assert training.err().count("training broke") == 2, "the source line and the message, shown once"


@pytest.mark.parametrize("mode", ["wrap", "redirect"])
def test_sigkill_loses_no_line_that_was_printed(mode: str, daemon: Daemon, isolated: Path, tmp_path: Path) -> None:
    body = "import os, signal\nfor i in range(1000):\n    print('line', i, flush=True)\n"
    body += "os.kill(os.getpid(), signal.SIGKILL)\n"
    training = start(mode, body, tmp_path)
    assert training.wait(60) == -signal.SIGKILL
    expected = "".join(f"line {i}\n" for i in range(1000))
    wait_until(lambda: training.out() == expected, 20, training.told)
    settled(daemon)
    assert recorded(isolated)["stdout"] == expected


GIL_BOUND = """
import ctypes, os
text = b"x" * 1023 + b"\\n"
write = ctypes.PyDLL(None).write  # holds the interpreter while it writes
for _ in range(4096):
    written = 0
    while written < len(text):
        written += write(1, text[written:], len(text) - written)
run.finish(quiet=True)
"""


def test_c_code_that_holds_the_interpreter_never_waits_at_a_full_pipe(stopped_daemon: Daemon, tmp_path: Path) -> None:
    training = start("redirect", GIL_BOUND, tmp_path)
    assert training.wait(60) == 0, "four MiB, sixty pipes full, while no thread of Python's can run"
    assert len(training.out()) == 4 << 20


@pytest.mark.leaves_files("the daemon is killed amid the run")
@pytest.mark.parametrize("mode", ["wrap", "redirect"])
def test_printing_does_not_wait_for_a_stopped_daemon(mode: str, daemon: Daemon, tmp_path: Path) -> None:
    body = "import time\nprint('ready', flush=True)\ninput()\nbegan = time.monotonic()\n"
    body += "for i in range(20_000):\n    print('line', i)\n"
    body += "print('took', time.monotonic() - began, flush=True)\nimport os\nos._exit(0)\n"
    body = body.replace("input()", f"open({str(tmp_path / 'go')!r}).close()")
    os.mkfifo(tmp_path / "go")
    training = start(mode, body, tmp_path)
    try:
        training.wait_out("ready", 60)
        daemon.pause()
        (tmp_path / "go").write_text("")
        training.wait_out("took", 60)
        assert training.wait(20) == 0
    finally:
        daemon.resume()
    assert float(training.out().split("took")[1]) < 20


def helper_of(training: Spawned) -> int:
    (pid,) = wait_until(
        lambda: [pid for pid in descendants(training.pid) if "client.console.helper" in command_line(pid)],
        20,
        "the helper",
    )
    return pid


@pytest.mark.leaves_files("the daemon is killed amid the run")
def test_when_the_helper_is_killed_training_goes_on_printing(daemon: Daemon, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    body = f"print('ready', flush=True)\nopen({str(tmp_path / 'go')!r}).close()\n"
    body += "import os, sys\nfor i in range(20_000):\n    print('line', i, flush=True)\n"
    body += "os.system('echo child')\nrun.finish(quiet=True)\nprint('end')\n"
    training = start("redirect", body, tmp_path, TELEMETRYD_RAISE="")
    training.wait_out("ready", 60)
    os.kill(helper_of(training), signal.SIGKILL)
    (tmp_path / "go").write_text("")
    assert training.wait(60) == 0, training.told()
    expected = "ready\n" + "".join(f"line {i}\n" for i in range(20_000)) + "child\nend\n"
    assert sorted(training.out()) == sorted(expected), "nothing is lost; where the pipe was left, order may suffer"
    assert training.out().endswith("line 19999\nchild\nend\n")
    assert "output is shown and not recorded" in training.err()


def test_a_child_that_outlives_training_is_shown_until_it_ends(daemon: Daemon, isolated: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    child = f"open({str(tmp_path / 'go')!r}).close(); print('late', flush=True)"
    body = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child!r}])\n"
    body += "print('in the run')\nrun.finish(quiet=True)\n"
    training = start("redirect", body, tmp_path)
    assert training.wait(60) == 0, training.told()
    settled(daemon)
    (tmp_path / "go").write_text("")
    wait_until(lambda: "late" in training.out(), 20, training.told)
    assert recorded(isolated)["stdout"] == "in the run\n"


@pytest.mark.leaves_files("the daemon is killed amid the run")
def test_the_helper_ends_with_its_parent(daemon: Daemon, tmp_path: Path) -> None:
    body = "import time\nprint('ready', flush=True)\ntime.sleep(60)\n"
    training = start("redirect", body, tmp_path)
    training.wait_out("ready", 60)
    helper = helper_of(training)
    os.kill(training.pid, signal.SIGKILL)
    wait_until(lambda: not alive(helper), 20, "the helper's end")


def test_without_a_daemon_the_end_does_not_wait_long(isolated: Path, tmp_path: Path) -> None:
    began_s = time.monotonic()
    training = start("redirect", "print('kept')\nrun.finish(quiet=True)\n", tmp_path)
    assert training.wait(60) == 0, training.told()
    assert training.out() == "kept\n"
    assert time.monotonic() - began_s < 30


def test_under_the_launcher_nothing_is_recorded_twice_and_a_stream_led_elsewhere_is_recorded(
    daemon: Daemon, isolated: Path, tmp_path: Path
) -> None:
    script = tmp_path / "train.py"
    body = "import sys\nprint('to a file')\nprint('to the launcher', file=sys.stderr)\nrun.finish(quiet=True)\n"
    script.write_text(INIT.replace("MODE", "'auto'") + body)
    elsewhere = tmp_path / "elsewhere.txt"
    command = ["sh", "-c", f"{sys.executable} {script} > {elsewhere}"]
    launcher = spawn([*python("-m", "telemetryd", "run", "--"), *command], tmp_path / "launcher")
    assert launcher.wait(90) == 0, launcher.told()
    said = recorded(isolated)
    assert said["stdout"] == "to a file\n" == elsewhere.read_text()
    assert said["stderr"].count("to the launcher\n") == 1


def test_off_keeps_the_launcher_s_record_out_of_the_run(daemon: Daemon, isolated: Path, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(INIT.replace("MODE", "'off'") + "print('private')\nrun.finish(quiet=True)\n")
    launcher = spawn(python("-m", "telemetryd", "run", "--", *python(script)), tmp_path / "launcher")
    assert launcher.wait(90) == 0, launcher.told()
    assert "private" in launcher.out()
    assert recorded(isolated) == {"stdout": "", "stderr": "", "log": ""}
