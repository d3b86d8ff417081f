"""Online with everything real but W&B: training process, daemon, run worker, wandb-core, and the W&B stand-in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.standin.client import Standin
from tests.standin.fixture import StandinProcess, standin, standin_process
from tests.support.processes import spawn, wait_until
from tests.support.world import World

__all__ = ["standin", "standin_process"]
ROWS = 300
KEY = "0123456789" * 4
pytestmark = pytest.mark.leaves_files("a world ends by SIGKILL, amid whatever its worker does")


@pytest.fixture
def world(short_path: Path, standin: Standin) -> Iterator[World]:
    made = World(short_path, standin=standin, rows=ROWS)
    yield made
    made.close()


def run_of(world: World) -> dict[str, Any]:
    """The only run, as `status` tells it."""
    runs = world.status()["runs"]
    return runs[0] if runs else {}


def wait_trouble(world: World, *words: str, deadline_s: float = 30) -> str:
    """The trouble that `status` tells, once it has all these words."""

    def told() -> str:
        said = run_of(world).get("trouble") or ""
        return said if said and all(word in said for word in words) else ""

    return wait_until(told, deadline_s, lambda: f"{words} in {world.status()}\n{world.worker_logs()}", poll_s=0.05)


def wait_delivered(world: World, count: int, deadline_s: float = 60) -> None:
    wait_until(
        lambda: run_of(world).get("delivered", 0) >= count,
        deadline_s,
        lambda: f"{count} rows delivered: {world.status()}\n{world.worker_logs()}",
        poll_s=0.05,
    )


def wait_online(world: World, deadline_s: float = 60) -> None:
    """Until the run is online. It may have ended in its file before, and is then taken up once more."""
    wait_until(
        lambda: run_of(world).get("mode") == "online",
        deadline_s,
        lambda: f"the run online: {world.status()}\n{world.worker_logs()}",
        poll_s=0.05,
    )


def logged_at_s(log: str, *events: str) -> list[float]:
    """When the daemon logged these events, each at its first time after the one before; seconds since the epoch."""
    found = []
    for line in log.splitlines():
        if len(found) < len(events) and f" {events[len(found)]}" in line:
            found.append(datetime.strptime(" ".join(line.split()[:2]), "%Y-%m-%d %H:%M:%S,%f").timestamp())
    assert len(found) == len(events), f"{events} in\n{log}"
    return found


def assert_exactly_once(world: World, rows: int = ROWS) -> None:
    status = world.wait_settled()
    assert world.numbers_in_wandb() == list(range(rows))
    assert (status["offered"], status["delivered"], status["dropped"]) == (rows, rows, {})
    assert world.account().errors == 0


def script(world: World, source: str, *, launcher: bool = False, **environ: str) -> subprocess.CompletedProcess[str]:
    path = world.folder / "script.py"
    path.write_text(textwrap.dedent(source))
    command = [sys.executable, str(path)]
    if launcher:
        command = [sys.executable, "-m", "telemetryd", "run", "--", *command]
    environment = os.environ | world.environment | environ
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def telemetryd(
    world: World, *arguments: str, given: str | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "telemetryd", *arguments]
    environment = os.environ | world.environment | environ
    return subprocess.run(
        command, env=environment, input=given, capture_output=True, text=True, timeout=60, check=False
    )


# A plain run


def test_a_run_arrives_with_rows_config_summary_tags_output_exit_code_and_state(world: World, standin: Standin) -> None:
    done = script(
        world,
        """
        import sys
        import client as wandb
        run = wandb.init(project="p", id="full", config={"lr": 0.1, "net": {"layers": 2}}, tags=["a", "b"], notes="n",
                         group="g", job_type="train")
        run.define_metric("loss", summary="min")
        for i in range(100):
            run.log({"i": i, "loss": 1 / (i + 1)})
            if i % 50 == 0:
                print("line", i, flush=True)
        run.config["late"] = True
        run.summary["best"] = {"acc": 0.9}
        run.finish()
        sys.exit(3)
        """,
        launcher=True,
    )
    assert done.returncode == 3, done.stderr
    assert standin.row_count("full") == 100
    rows = standin.rows("full")
    assert [(row["_step"], row["i"], row["loss"]) for row in rows] == [(i, i, 1 / (i + 1)) for i in range(100)]
    assert standin.config("full") == {"lr": 0.1, "net": {"layers": 2}, "late": True}
    summary = standin.summary("full")
    assert (summary["i"], summary["best"], summary["loss"]["min"]) == (99, {"acc": 0.9}, 1 / 100)
    run = standin.run("full")
    assert (run["tags"], run["notes"], run["group"], run["jobType"]) == (["a", "b"], "n", "g", "train")
    assert (standin.exit_code("full"), standin.state("full")) == (0, "finished"), "as finish() was told"
    lines = [line for line in "\n".join(standin.outputs("full")).splitlines() if "line" in line]
    assert [line.rpartition("line ")[2].rstrip('"}') for line in lines] == ["0", "50"]


def test_the_key_is_in_the_daemon_only(world: World, standin: Standin) -> None:
    world.start_daemon()
    done = script(
        world,
        "import client\nclient.init(id='x').log({'i': 1})\nclient.finish()",
        WANDB_API_KEY="",
        WANDB_BASE_URL="http://127.0.0.1:9",
    )
    assert done.returncode == 0, done.stderr
    world.wait_settled()
    assert standin.row_count("x") == 1
    for path in [*world.spool_dir.rglob("*"), *world.state_dir.rglob("*"), *world.runs_dir.rglob("*")]:
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


# Kills


@pytest.mark.parametrize("victim", ["worker", "core", "daemon"])
def test_rows_are_there_once_though_a_process_is_killed_in_the_middle(world: World, victim: str) -> None:
    world.start_daemon()
    world.start_trainer(50)
    wait_delivered(world, 1)
    world.wait_logged(ROWS // 2)
    if victim == "daemon":
        world.restart_daemon()
    else:
        world.signal(victim, signal.SIGKILL)
    assert_exactly_once(world)


def test_everything_killed_while_rows_wait_for_a_server_that_is_down_arrives_once_when_it_is_back(
    world: World, standin: Standin
) -> None:
    world.start_daemon()
    trainer = world.start_trainer(60)
    wait_delivered(world, 1)
    standin.down()
    world.wait_logged(ROWS)
    logged_s = time.time()
    # Found first: without its worker a core goes by itself, and the next worker waits for the server before it has one.
    everything = [pid for name in ("trainer", "worker", "core", "daemon") for pid in world.target(name)]
    world.send(everything, signal.SIGKILL)
    trainer.wait(10)
    assert world.daemon is not None
    world.daemon.wait(10)
    world.start_daemon()
    standin.up()
    assert_exactly_once(world)
    stamps_s = [row["_timestamp"] for row in standin.rows("chaos")]
    assert stamps_s == sorted(stamps_s)
    assert stamps_s[-1] <= logged_s, "a row's time is that of its log call, however much later it is sent"
    assert stamps_s[-1] - stamps_s[0] > 0.9 * (ROWS - 1) / 60


# A server that does not answer, or answers wrongly


def test_a_server_down_at_the_start_is_told_and_awaited(world: World, standin: Standin) -> None:
    standin.down()
    world.start_daemon()
    trainer = world.start_trainer(0, "--finish-timeout-s", "2")
    assert trainer.wait(30) == 0, trainer.told()
    wait_trouble(world, "does not answer")
    assert run_of(world)["delivered"] == 0
    workers = world.worker_pids()
    standin.up()
    assert_exactly_once(world)
    assert len(workers) == 1, "it waited, and was not restarted again and again"


def test_a_server_that_goes_away_in_the_middle_costs_no_row_and_no_restart(world: World, standin: Standin) -> None:
    world.start_daemon()
    training = world.start_trainer(30).pid
    wait_until(lambda: run_of(world).get("offered"), 60, "the first rows at the daemon", poll_s=0.05)
    world.send([training], signal.SIGSTOP)  # however long the worker takes to start, training must outlive the server
    wait_delivered(world, 1)
    (worker,) = world.worker_pids()
    standin.down()
    world.resume([training])
    world.wait_logged(ROWS)
    before = run_of(world)["delivered"]
    wait_trouble(world, "does not answer")
    assert run_of(world)["delivered"] == before < ROWS, "delivered counts what the server has"
    assert world.worker_pids() == [worker]
    standin.up()
    assert_exactly_once(world)


FAULTS: dict[str, Callable[[Standin], int]] = {
    "500": lambda server: server.fail("file_stream", status=500, times=2),
    "429": lambda server: server.fail("file_stream", status=429, times=2),
    "lost answers": lambda server: server.drop_after("file_stream", times=2),
    "dropped requests": lambda server: server.drop_before("file_stream", times=2),
    "GraphQL errors": lambda server: server.graphql_error(times=4),
    "garbage": lambda server: server.garbage("file_stream", times=2),
    "a slow server": lambda server: server.slow("*", 0.5, times=10),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_rows_are_there_once_though_requests_fail(world: World, standin: Standin, fault: str) -> None:
    world.start_daemon()
    world.start_trainer(60)
    wait_delivered(world, 1)
    number = FAULTS[fault](standin)
    assert_exactly_once(world)
    assert standin.hits(number) > 0


def test_what_an_answer_without_sense_has_lost_is_put_back_though_later_rows_have_come(
    world: World, standin: Standin
) -> None:
    world.start_daemon()
    world.start_trainer(20)
    wait_delivered(world, 1)
    fault = standin.garbage("file_stream", times=1)
    wait_until(lambda: standin.hits(fault), 30, "the request that is lost")
    assert_exactly_once(world)
    assert "rows_put_back" in world.worker_logs()


def test_what_an_answer_without_sense_has_lost_is_put_back_by_the_next_worker(world: World, standin: Standin) -> None:
    world.start_daemon()
    world.start_trainer(20)
    wait_delivered(world, 1)
    (worker,) = world.worker_pids()
    fault = standin.garbage("file_stream", times=1)
    wait_until(lambda: standin.hits(fault), 30, "the request that is lost")
    world.send([worker], signal.SIGKILL)
    assert_exactly_once(world)


def test_a_server_that_hangs_is_told_and_its_rows_are_there_once_it_answers(world: World, standin: Standin) -> None:
    world.start_daemon()
    world.start_trainer(60)
    wait_delivered(world, 1)
    standin.hang("*")
    wait_trouble(world, "does not answer", deadline_s=40)
    standin.clear()
    assert_exactly_once(world)


def test_a_server_that_goes_away_while_the_run_is_ended_is_told_and_gets_the_exit_code_later(
    world: World, standin: Standin
) -> None:
    world.start_daemon()
    go = world.folder / "go"
    program = f"""
import client as wandb, pathlib, time
run = wandb.init(project="chaos", id="chaos")
for i in range(5): run.log({{"i": i}})
while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.02)
run.finish(4, timeout_s=1)
"""
    trainer = spawn([sys.executable, "-c", program], world.folder / "ending", env=world.environment)
    wait_delivered(world, 5)
    standin.hang("*")
    go.touch()
    assert trainer.wait(20) == 0, trainer.told()
    wait_trouble(world, "does not answer", deadline_s=40)
    assert run_of(world)["state"] != "finished"
    standin.clear()
    world.wait_settled()
    assert world.numbers_in_wandb() == list(range(5))
    assert standin.exit_code("chaos") == 4


# Refusals


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_told_with_its_status_and_its_rows_are_sent_when_it_is_over(
    world: World, standin: Standin, status: int
) -> None:
    world.start_daemon()
    world.start_trainer(20)  # for 15 s: rows still come when the server begins to refuse, also on a busy machine
    wait_delivered(world, 1)
    fault = standin.fail("file_stream", status=status)
    said = wait_trouble(world, f"answers {status}")
    assert KEY not in said
    standin.clear(id=fault)
    assert_exactly_once(world)


def test_a_refused_key_is_told_by_finish_and_on_stderr_and_one_given_later_delivers_the_backlog(
    world: World, standin: Standin
) -> None:
    good = "9" * 40
    standin.accept_keys([good])
    del world.environment["WANDB_API_KEY"]
    done = telemetryd(world, "login", "-", given=f"{KEY}\n")
    assert done.returncode != 0
    assert "401" in done.stderr
    netrc = Path(os.environ["NETRC"])
    netrc.write_text(f"machine {standin.url.partition('//')[2]} login user password {KEY}\n")
    netrc.chmod(0o600)
    world.start_daemon()
    trainer = world.start_trainer(0, "--finish-timeout-s", "20")
    assert trainer.wait(60) == 0, trainer.told()
    for said in (trainer.out(), trainer.err()):
        assert "answers 401" in said
        assert str(netrc) in said, "where the wrong key is from"
    assert trainer.err().count("answers 401") == 1
    assert "refused" in trainer.out()
    assert "answers 401" in telemetryd(world, "status").stdout
    done = telemetryd(world, "login", given=f"{good}\n")
    assert done.returncode == 0, done.stderr
    assert good not in done.stdout + done.stderr
    assert netrc.stat().st_mode & 0o777 == 0o600
    assert_exactly_once(world)
    assert world.daemon is not None
    changed_s, started_s = logged_at_s(world.daemon.err(), "key_changed", "worker_started")
    assert started_s - changed_s < 3, "a changed key file is tried at once"


def test_a_key_of_the_wrong_length_is_told_before_anybody_is_asked(world: World, standin: Standin) -> None:
    secret = world.folder / "secret"
    secret.write_text("tooshort\n")
    del world.environment["WANDB_API_KEY"]
    world.environment["WANDB_API_KEY_FILE"] = str(secret)
    world.start_daemon()
    world.start_trainer(0, "--finish-timeout-s", "1")
    said = wait_trouble(world, "40 characters", str(secret))
    assert "tooshort" not in said
    secret.write_text(f"{KEY}\n")
    assert_exactly_once(world)


# Offline first, online later


def test_a_run_without_a_key_goes_online_by_itself_when_there_is_one(world: World, standin: Standin) -> None:
    del world.environment["WANDB_API_KEY"]
    world.start_daemon()
    world.start_trainer(100)
    wait_delivered(world, ROWS // 3)
    assert run_of(world)["mode"] == "offline"
    assert standin.runs() == []
    assert telemetryd(world, "login", KEY).returncode == 0
    wait_online(world)
    assert_exactly_once(world)
    assert run_of(world)["mode"] == "online"


def test_a_run_that_ended_without_a_key_is_taken_up_when_there_is_one(world: World, standin: Standin) -> None:
    del world.environment["WANDB_API_KEY"]
    world.start_daemon()
    done = script(
        world,
        "import client as wandb\nr = wandb.init(project='chaos', id='chaos', config={'lr': 1})\n"
        "for i in range(50): r.log({'i': i})\nr.write_logs('a line')\nr.finish(7)",
    )
    assert done.returncode == 0, done.stderr
    world.wait_settled()
    assert standin.runs() == []
    assert telemetryd(world, "login", KEY).returncode == 0
    wait_online(world)
    world.wait_settled()
    assert world.numbers_in_wandb() == list(range(50))
    assert (standin.exit_code("chaos"), standin.config("chaos")) == (7, {"lr": 1})
    assert "a line" in "\n".join(standin.outputs("chaos"))


# The same run again


def test_a_finished_run_goes_on_behind_its_rows_under_the_same_id(world: World, standin: Standin) -> None:
    world.start_daemon()
    program = "import client as wandb, sys\nr = wandb.init(project='chaos', id='chaos', resume={resume!r})\n"
    program += "for i in range({first}, {last}): r.log({{'i': i}})\nprint(r.finish())"
    for first, resume in ((0, None), (40, "allow"), (80, "must")):
        done = script(world, program.format(resume=resume, first=first, last=first + 40))
        assert done.returncode == 0, done.stderr
        world.wait_settled()
    assert world.numbers_in_wandb() == list(range(120))
    assert [row["_step"] for row in standin.rows("chaos")] == list(range(120))
    assert standin.state("chaos") == "finished"


def test_a_requeued_job_continues_its_run_on_another_machine(world: World, standin: Standin, short_path: Path) -> None:
    other = World(short_path / "other", standin=standin)
    program = "import client as wandb\nr = wandb.init(project='chaos')\n"
    program += "for i in range({first}, {last}): r.log({{'i': i}})\nr.finish()"
    try:
        for place, first in ((world, 0), (other, 30)):
            place.start_daemon()
            done = script(place, program.format(first=first, last=first + 30), TELEMETRYD_RUN_ID="chaos")
            assert done.returncode == 0, done.stderr
            place.wait_settled()
    finally:
        other.close()
    assert world.numbers_in_wandb() == list(range(60))
    assert [row["_step"] for row in standin.rows("chaos")] == list(range(60))


@pytest.mark.parametrize(("resume", "exists"), [("never", True), ("must", False)])
def test_a_resume_that_cannot_be_is_told(world: World, standin: Standin, resume: str, exists: bool) -> None:
    world.start_daemon()
    if exists:
        other = World(world.folder / "other", standin=standin)
        other.start_daemon()
        script(other, "import client\nclient.init(project='p', id='r').log({'i': 1})\nclient.finish()")
        other.wait_settled()
        other.close()
    done = script(world, f"import client\nr=client.init(project='p', id='r', resume={resume!r})\nr.log({{'i': 2}})\n")
    assert done.returncode == 0, done.stderr
    wait_trouble(world, f"resume='{resume}'")


# Deadlines


def test_finish_returns_within_its_deadline_and_the_daemon_goes_on(world: World, standin: Standin) -> None:
    standin.fail("file_stream", status=500)
    world.start_daemon()
    done = script(
        world,
        """
        import time
        import client as wandb
        run = wandb.init(project="chaos", id="chaos")
        for i in range(50):
            run.log({"i": i})
        began_s = time.monotonic()
        report = run.finish(timeout_s=3)
        print(time.monotonic() - began_s, report.pending, report.delivered, report.state)
        """,
    )
    took_s, pending, delivered, state = done.stdout.split()
    assert float(took_s) < 5
    assert (pending, delivered, state) == ("50", "0", "delivering")
    assert "50 pending" in done.stderr
    standin.clear()
    world.wait_settled()
    assert world.numbers_in_wandb() == list(range(50))


def test_a_stand_in_killed_and_started_again_has_every_row_once(
    short_path: Path, standin_process: StandinProcess
) -> None:
    world = World(short_path, standin=standin_process, rows=ROWS)
    try:
        world.start_daemon()
        world.start_trainer(60)
        wait_delivered(world, 1)
        standin_process.kill()
        world.wait_logged(ROWS)
        standin_process.start()
        assert_exactly_once(world)
    finally:
        world.close()
