"""How a process ends without `finish`: the exit code, the End record, and that nothing of a parent's is touched."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from client.journal import reader
from client.protocol import framing
from client.protocol.records import AnyRecord, End, Output, Process, Row, decode

DEADLINE_S = 60.0


def run_script(body: str, isolated: Path) -> tuple[int, list[list[AnyRecord]], str]:
    """Exit code, the records of each session left in the spool (but for output and facts), and stderr."""
    script = isolated / "tmp" / "script.py"
    script.write_text(f"import client\n{body}\n")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        env={**os.environ, "TELEMETRYD_RAISE": ""},
    )  # fmt: skip
    script.unlink()
    spool = isolated / "state" / "telemetryd" / "spool"
    sessions = [records_of(folder) for folder in sorted(spool.iterdir())]
    return done.returncode, sessions, done.stderr


def records_of(folder: Path) -> list[AnyRecord]:
    records = [
        decode(body)
        for stretch in reader.read_spool(folder).stretches()
        for _, body in framing.bodies(stretch.payload, stretch.first)
        if body is not None
    ]
    return [record for record in records if not isinstance(record, Output | Process)]


INIT = "run = client.init(project='p', mode='offline'); run.log({'a': 1})\n"


@pytest.mark.parametrize(
    ("ending", "code", "implicit"),
    [
        ("", 0, True),
        ("raise ValueError('x')", 1, True),
        ("import sys; sys.exit(3)", 3, True),
        ("import sys; sys.exit('text')", 1, True),
        ("import sys; sys.exit()", 0, True),
        ("raise KeyboardInterrupt", 255, True),
        ("run.finish(exit_code=7)", 7, False),
        ("run.finish()", 0, False),
        ("with run: raise ValueError('x')", 1, False),
    ],
)
def test_the_exit_code_is_the_one_wandb_would_give(ending: str, code: int, implicit: bool, isolated: Path) -> None:
    _, (session,), _ = run_script(INIT + ending, isolated)
    assert [type(record) for record in session] == [Row, End]
    assert isinstance(session[-1], End)
    assert (session[-1].exit_code, session[-1].implicit) == (code, implicit)


def test_the_hooks_of_others_still_run(isolated: Path) -> None:
    body = (
        "import sys\nsys.excepthook = lambda kind, error, trace: print('mine', kind.__name__, file=sys.stderr)\n"
        f"{INIT}raise ValueError('x')"
    )
    code, _, told = run_script(body, isolated)
    assert code == 1
    assert "mine ValueError" in told


def test_a_traceback_is_still_printed_once(isolated: Path) -> None:
    _, _, told = run_script(INIT + "raise ValueError('x')", isolated)
    assert told.count("ValueError: x") == 1


def test_a_forked_child_that_exits_ends_nothing_of_its_parents(isolated: Path) -> None:
    body = INIT + (
        "import os, sys\n"
        "if os.fork() == 0:\n    run.log({'child': 1}); sys.exit(5)\n"
        "os.wait(); run.log({'a': 2}); sys.exit(4)"
    )
    code, sessions, told = run_script(body, isolated)
    assert code == 4
    assert len(sessions) == 1
    assert [record.data for record in sessions[0] if isinstance(record, Row)] == [{"a": 1}, {"a": 2}]
    assert [record.exit_code for record in sessions[0] if isinstance(record, End)] == [4]
    assert told.count("was forked") == 1


def test_a_forked_child_may_init_a_run_of_its_own(isolated: Path) -> None:
    body = INIT + (
        "import os, sys\n"
        "if os.fork() == 0:\n"
        "    client.init(project='p', id='child', mode='offline').log({'child': 1}); sys.exit(5)\n"
        "os.wait(); sys.exit(4)"
    )
    _, sessions, _ = run_script(body, isolated)
    ends = sorted(record.exit_code for session in sessions for record in session if isinstance(record, End))
    assert ends == [4, 5]
    assert sorted(str(r.data) for session in sessions for r in session if isinstance(r, Row)) == [
        "{'a': 1}",
        "{'child': 1}",
    ]


def test_workers_of_multiprocessing_neither_hang_nor_write(isolated: Path) -> None:
    body = (
        "import multiprocessing as mp\n"
        "def work(i):\n    client.log({'w': i}); return i\n"
        "if __name__ == '__main__':\n"
        "    run = client.init(project='p', mode='offline')\n"
        "    run.log({'a': 1})\n"
        "    with mp.get_context('fork').Pool(2) as pool: assert pool.map(work, range(4)) == [0, 1, 2, 3]\n"
        "    run.log({'a': 2}); run.finish(quiet=True)"
    )
    code, sessions, told = run_script(
        body.replace("client.log({'w': i})", "RUN.log({'w': i})").replace("run =", "RUN = run ="), isolated
    )
    assert code == 0, told
    assert len(sessions) == 1
    assert [record.data for record in sessions[0] if isinstance(record, Row)] == [{"a": 1}, {"a": 2}]


def test_exiting_without_a_daemon_takes_no_time(isolated: Path) -> None:
    began_s = time.monotonic()
    run_script("run = client.init(project='p', mode='offline'); run.log({'a': 1})", isolated)
    assert time.monotonic() - began_s < 10.0
