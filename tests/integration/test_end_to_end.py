"""The main job with everything real: training process, daemon, run worker, wandb-core, the .wandb file."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from telemetryd.runs.wandb_file import history_rows, records
from tests.support.processes import spawn, wait_until
from tests.support.requirements import require
from tests.support.world import World

pytestmark = pytest.mark.leaves_files("a world ends by SIGKILL, amid whatever its worker does")


@pytest.fixture
def world(short_path: Path) -> Iterator[World]:
    made = World(short_path)
    yield made
    made.close()


def wandb_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/*run-*/*.wandb"))


def run_script(world: World, source: str, *, launcher: bool = True) -> subprocess.CompletedProcess[str]:
    script = world.folder / "script.py"
    script.write_text(textwrap.dedent(source))
    command = [sys.executable, str(script)]
    if launcher:
        command = [sys.executable, "-m", "telemetryd", "run", "--", *command]
    environment = os.environ | world.environment
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)


def exit_code(path: Path) -> int | None:
    codes = [record.exit.exit_code for record in records(path) if record.WhichOneof("record_type") == "exit"]
    return codes[-1] if codes else None


def test_a_hundred_thousand_rows_logged_back_to_back_are_all_there_in_order_each_once(world: World) -> None:
    world.rows = 100_000
    world.start_daemon()
    trainer = world.start_trainer(0)
    trainer.wait_out("logged", 60)
    status = world.wait_settled()
    assert world.numbers_in_wandb() == list(range(100_000))
    assert trainer.wait(60) == 0, trainer.told()
    assert (status["offered"], status["delivered"], status["dropped"], status["pending"]) == (100_000, 100_000, {}, 0)
    assert world.account().errors == 0


def test_a_training_process_killed_right_after_log_returned_loses_no_row(world: World) -> None:
    world.rows = 3000
    world.start_daemon()
    trainer = world.start_trainer(1000)
    world.wait_logged(1500)
    world.signal("trainer", signal.SIGKILL)
    trainer.wait(10)
    world.wait_settled()
    outcome = world.outcome()
    assert outcome.missing == []
    assert outcome.doubled == []
    assert exit_code(wandb_files(world.runs_dir)[-1]) == 255, "nobody saw how it ended"


def test_daemon_and_worker_killed_in_the_middle_and_restarted_lose_and_double_nothing(world: World) -> None:
    world.rows = 20_000
    world.start_daemon()
    trainer = world.start_trainer(2500)
    world.wait_logged(6000)
    world.signal("worker", signal.SIGKILL)
    world.wait_logged(10_000)
    world.signal("daemon", signal.SIGKILL)
    assert world.daemon is not None
    world.daemon.wait(10)
    world.wait_logged(13_000)
    world.start_daemon()
    trainer.wait_out("logged", 60)
    status = world.wait_settled()
    outcome = world.outcome()
    assert trainer.wait(60) == 0, trainer.told()
    assert outcome.account.errors == 0
    assert outcome.account.longest_own_ms < 50
    assert outcome.missing == []
    assert outcome.doubled == []
    assert outcome.out_of_order == 0
    assert (status["offered"], status["delivered"], status["dropped"]) == (20_000, 20_000, {})


def test_without_a_daemon_rows_wait_in_the_spool_and_a_later_daemon_delivers_them(world: World) -> None:
    world.rows = 500
    trainer = world.start_trainer(0, "--finish-timeout-s", "0.5")
    assert trainer.wait(60) == 0, trainer.told()
    assert trainer.err().count("telemetryd serve") == 1, trainer.told()
    world.start_daemon()
    world.wait_settled()
    assert world.numbers_in_wandb() == list(range(500))
    assert list(world.spool_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("pass", 0),
        ("import sys; sys.exit(3)", 3),
        ("raise RuntimeError('training broke')", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("import os; os._exit(5)", 5),
    ],
    ids=["end", "exit", "exception", "sigkill", "os_exit"],
)
def test_the_exit_code_of_run_and_of_the_command_is_the_same_in_wandb(world: World, ending: str, expected: int) -> None:
    done = run_script(
        world,
        f"""
        import client as wandb
        run = wandb.init(project="p", id="codes")
        for i in range(20):
            run.log({{"i": i}})
        print("to stdout", flush=True)
        {ending}
        """,
    )
    assert done.returncode == expected, done
    (path,) = wandb_files(world.runs_dir)
    assert exit_code(path) == expected
    assert [row["i"] for _, row in history_rows(path)] == list(range(20))
    assert "to stdout" in done.stdout
    output = "".join(r.output_raw.line for r in records(path) if r.WhichOneof("record_type") == "output_raw")
    assert "to stdout" in output
    if expected == 1:
        assert "training broke" in output, "a crash's last traceback is in the run's output"


def test_what_run_started_is_gone_when_it_ends(world: World) -> None:
    done = run_script(world, "import client\nclient.init(id='x').log({'i': 1})")
    assert done.returncode == 0, done.stderr
    assert not world.answers()


def test_run_uses_the_daemon_that_answers_and_leaves_it_running(world: World) -> None:
    world.start_daemon()
    done = run_script(world, "import client\nclient.init(id='x').log({'i': 1})")
    assert done.returncode == 0, done.stderr
    assert world.answers()
    assert world.status()["delivered"] == 1


def test_status_json_tells_the_ledger_in_total_and_per_run(world: World) -> None:
    world.start_daemon()
    run_script(world, "import client\nclient.init(id='one').log({'i': 1})")
    run_script(world, "import client\nr = client.init(id='two')\nr.log({'i': 1})\nr.log({'i': 2})")
    command = [sys.executable, "-m", "telemetryd", "status", "--json"]
    said = subprocess.run(command, env=os.environ | world.environment, capture_output=True, text=True, check=True)
    status: dict[str, Any] = json.loads(said.stdout)
    assert (status["offered"], status["delivered"], status["dropped"], status["pending"]) == (3, 3, {}, 0)
    assert {run["key"].rsplit("/", 1)[1]: run["delivered"] for run in status["runs"]} == {"one": 1, "two": 2}


def test_two_processes_at_once_write_two_runs(world: World) -> None:
    world.rows = 300
    world.start_daemon()
    first = world.start_trainer(0)
    other = world.folder / "other"
    program = "import client\nr = client.init(id='second')\nfor i in range(200): r.log({'i': i})\nr.finish()"
    second = spawn([sys.executable, "-c", program], other, env=world.environment)
    assert first.wait(60) == 0, first.told()
    assert second.wait(60) == 0, second.told()
    wait_until(lambda: len(world.status()["runs"]) == 2, 10, "two runs")
    world.wait_settled()
    assert world.numbers_in_wandb("chaos") == list(range(300))
    assert world.numbers_in_wandb("second") == list(range(200))


def test_a_forked_child_that_logs_neither_deadlocks_nor_corrupts(world: World) -> None:
    done = run_script(
        world,
        """
        import os
        import client
        run = client.init(id="forks")
        for i in range(50):
            run.log({"i": i})
            if i == 25:
                pid = os.fork()
                if pid == 0:
                    run.log({"i": -1})
                    os._exit(0)
                assert os.waitpid(pid, 0)[1] == 0
        """,
    )
    assert done.returncode == 0, done.stderr
    (path,) = wandb_files(world.runs_dir)
    assert [row["i"] for _, row in history_rows(path)] == list(range(50))


def test_workers_of_a_data_loader_neither_deadlock_nor_corrupt(world: World) -> None:
    require(importlib.util.find_spec("torch"), "the loader is torch's")
    done = run_script(
        world,
        """
        import threading
        import torch
        from torch.utils.data import DataLoader, Dataset
        import client

        run = client.init(id="loader")

        class Numbers(Dataset):
            def __len__(self):
                return 64

            def __getitem__(self, index):
                run.log({"from_a_worker": index})
                return torch.tensor(float(index))

        stop = threading.Event()

        def beside():
            while not stop.wait(0.0002):
                run.log({"beside": 1})

        thread = threading.Thread(target=beside)
        thread.start()  # holds the journal's lock every now and then, also at the moments of the forks
        for epoch in range(3):
            for batch in DataLoader(Numbers(), batch_size=8, num_workers=2, multiprocessing_context="fork"):
                run.log({"i": int(batch.sum())})
        stop.set()
        thread.join()
        """,
    )
    assert done.returncode == 0, done.stderr
    (path,) = wandb_files(world.runs_dir)
    rows = [row for _, row in history_rows(path)]
    sums = [sum(range(first, first + 8)) for first in range(0, 64, 8)]
    assert [row["i"] for row in rows if "i" in row] == sums * 3
    assert not any("from_a_worker" in row for row in rows)
    steps = [step for step, _ in history_rows(path)]
    assert steps == list(range(len(rows)))
