"""Run workers under a real daemon: restarts, limits, shutdown, and what dead processes leave behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from client.journal.folder import OwnerLock
from client.protocol.messages import Hello, Report, RunSpec
from client.protocol.records import End, Output, Row
from tests.support.daemon import AskError
from tests.support.fake_daemon import FakeDaemon
from tests.support.processes import alive, command_line, descendants, wait_until
from tests.support.spools import leave_spool
from tests.support.wire_client import WireClient, new_session

WORKER = "tests.support.fake_worker"


@pytest.fixture
def fake(isolated: Path, tmp_path: Path):
    state = isolated / "state" / "t"
    daemon = FakeDaemon(tmp_path / "daemon", f"ipc://{isolated / 'run'}/d.sock", state, state / "spool")
    yield daemon
    daemon.end()


def rows(first: int, count: int) -> list[Row]:
    return [Row(step, 0, {"loss": 1.0}) for step in range(first - 1, first - 1 + count)]


def end(code: int | None = 0, *, implicit: bool = False) -> End:
    return End(time.time_ns(), exit_code=code, implicit=implicit)


def workers(daemon: FakeDaemon) -> set[int]:
    return {pid for pid in descendants(daemon.pid) if alive(pid) and WORKER in command_line(pid)}


def run_map(daemon: FakeDaemon, run_id: str = "run") -> dict:
    return daemon.ask("run", key=f"//{run_id}")


def wait_run(daemon: FakeDaemon, state: str, run_id: str = "run", deadline_s: float = 20.0) -> dict:
    def there() -> bool:
        try:
            return run_map(daemon, run_id)["state"] == state
        except AskError:  # not adopted yet
            return False

    wait_until(there, deadline_s, lambda: f"{state}: {daemon.status()}")
    return run_map(daemon, run_id)


def a_dead_process() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(["true"])
    process.wait()
    return process


def test_a_worker_that_crashes_is_started_again_until_everything_is_delivered_once(fake: FakeDaemon) -> None:
    fake.start(env={"FAKE_WORKER": "crash"})
    with WireClient(fake.endpoint) as client:
        client.hello()
        client.send(*rows(1, 10))
        retrying = client.expect(Report, lambda report: report.state == "retrying")
        assert "exit code 3" in (retrying.trouble or "")
        client.send(*rows(11, 10), end())
        client.expect(Report, lambda report: report.state == "finished", 30)
    assert fake.delivered() == [(client.session, number) for number in range(1, 21)]
    assert fake.status()["counters"]["workers_failed"] >= 2


def test_a_killed_worker_is_replaced_and_its_leftovers_with_it(fake: FakeDaemon) -> None:
    fake.start(env={"FAKE_WORKER": "child"})
    with WireClient(fake.endpoint) as client:
        client.hello()
        (worker,) = wait_until(lambda: workers(fake), 20, "a worker")
        (child,) = wait_until(lambda: descendants(worker), 20, "its child")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not alive(child), 20, "the end of what the worker left")
        wait_until(lambda: workers(fake) - {worker}, 20, "another worker")
        client.send(*rows(1, 3), end(7))
        report = client.expect(Report, lambda report: report.state == "finished")
    assert (report.delivered, report.exit_code) == (3, 7)
    wait_until(lambda: not descendants(fake.pid), 20, "the end of every worker and child")


def test_at_most_max_workers_run_at_once_and_every_run_has_its_turn(fake: FakeDaemon) -> None:
    fake.start(["--max-workers", "1"])
    clients = [WireClient(fake.endpoint, run_id=f"r{number}") for number in range(3)]
    try:
        for client in clients:
            client.hello()
            client.send(*rows(1, 5))
            client.wait_acked()
        most = 0
        waiting = run_map(fake, "r2")
        assert "waits for one of the workers" in wait_until(lambda: run_map(fake, "r2")["trouble"], 20)
        for client in clients:
            client.send(end())
        for number in range(3):
            while run_map(fake, f"r{number}")["state"] != "finished":
                most = max(most, len(workers(fake)))
        assert most == 1
        assert waiting["state"] == "starting"
        assert fake.status()["delivered"] == 15
    finally:
        for client in clients:
            client.close()


def test_a_refused_run_says_so_keeps_its_rows_and_does_not_keep_a_retired_daemon(fake: FakeDaemon) -> None:
    fake.start(env={"FAKE_WORKER": "refuse"})
    with WireClient(fake.endpoint) as client:
        client.hello()
        client.send(*rows(1, 4))
        report = client.expect(Report, lambda report: report.state == "refused" and report.offered == 4)
        assert (report.trouble, report.pending) == ("the key is wrong", 4)
        wait_until(lambda: fake.status()["components"]["workers"]["state"] == "permanent", 10)
        fake.ask("retire")
        client.send(end())
        client.wait_acked()
    assert fake.spawned is not None
    assert fake.spawned.wait(30) == 0
    assert "4 pending, kept in" in fake.told()
    fake.start(env={"FAKE_WORKER": ""})
    assert wait_run(fake, "finished")["delivered"] == 4


def test_sigterm_delivers_what_is_there_and_exits_with_a_count(fake: FakeDaemon) -> None:
    fake.start()
    with WireClient(fake.endpoint) as client:
        client.hello()
        for _ in range(20):
            client.send(*rows(client.sent + 1, 50))
        client.wait_acked()
        assert fake.stop() == 0
    assert len(fake.delivered()) == 1000
    assert "telemetryd: stopped; 1000 rows delivered, 0 pending" in fake.told()
    assert not (fake.state_dir / "daemon.json").exists()


def test_a_stop_leaves_at_its_deadline_with_the_rest_on_disk_and_the_next_start_delivers_it(fake: FakeDaemon) -> None:
    fake.start(["--drain-timeout", "1"], env={"FAKE_WORKER": "lame"})
    with WireClient(fake.endpoint) as client:
        client.hello()
        client.send(*rows(1, 6), end())
        client.wait_acked()
        wait_until(lambda: workers(fake), 20, "a worker")
        assert fake.stop() == 0
    assert "0 rows delivered, 6 pending, kept in" in fake.told()
    fake.start(env={"FAKE_WORKER": ""})
    assert wait_run(fake, "finished")["delivered"] == 6


def test_a_second_sigterm_cuts_the_drain_short(fake: FakeDaemon) -> None:
    fake.start(["--drain-timeout", "100"], env={"FAKE_WORKER": "lame"})
    with WireClient(fake.endpoint) as client:
        client.hello()
        client.send(*rows(1, 6))
        client.wait_acked()
        wait_until(lambda: workers(fake), 20, "a worker")
        os.kill(fake.pid, signal.SIGTERM)
        wait_until(lambda: fake.status()["components"]["reception"]["state"] == "stopping", 10)
        began_s = time.monotonic()
        assert fake.stop(20) == 0
        assert time.monotonic() - began_s < 15


def test_a_killed_daemons_workers_do_not_outlive_the_next_start(fake: FakeDaemon) -> None:
    fake.start(env={"FAKE_WORKER": "lame"})
    with WireClient(fake.endpoint) as client:
        client.hello()
        client.send(*rows(1, 2), end())
        client.wait_acked()
        (old,) = wait_until(lambda: workers(fake), 20, "a worker")
        fake.kill()
        assert alive(old)  # it neither reads its orders nor notices that they are closed
        fake.start(env={"FAKE_WORKER": ""})
        wait_until(lambda: not alive(old), 20, "the end of the old worker")
        assert wait_run(fake, "finished")["delivered"] == 2


def test_a_retired_daemon_stays_while_a_session_is_open_and_leaves_after_it(fake: FakeDaemon) -> None:
    fake.start()
    with WireClient(fake.endpoint) as client:
        client.hello()
        fake.ask("retire")
        client.send(*rows(1, 5))
        client.expect(Report, lambda report: report.delivered == 5)
        assert fake.spawned is not None
        assert fake.spawned.running()
        client.send(end())
        assert fake.spawned.wait(20) == 0
    assert "5 rows delivered, 0 pending" in fake.told()


def test_an_idle_daemon_leaves_by_itself_when_told_to(fake: FakeDaemon) -> None:
    fake.start(["--exit-when-idle"])
    with WireClient(fake.endpoint) as client:
        client.hello()
        client.send(*rows(1, 5), end())
        client.wait_acked()
    assert fake.spawned is not None
    assert fake.spawned.wait(20) == 0
    assert len(fake.delivered()) == 5


def test_a_finished_run_goes_on_when_its_id_says_hello_again(fake: FakeDaemon) -> None:
    fake.start()
    for code in (0, 5):
        with WireClient(fake.endpoint) as client:
            client.hello()
            client.send(*rows(1, 5), end(code))
            client.expect(Report, lambda report, code=code: report.state == "finished" and report.exit_code == code)
    assert run_map(fake)["delivered"] == 10
    assert len(fake.status()["runs"]) == 1


def test_rows_that_come_while_a_worker_finishes_the_run_are_delivered_by_the_next_one(fake: FakeDaemon) -> None:
    fake.start(env={"FAKE_WORKER": "slow"})
    with WireClient(fake.endpoint) as first, WireClient(fake.endpoint) as second:
        first.hello()
        first.send(*rows(1, 5), end(0))
        wait_until(lambda: len(fake.delivered()) == 5, 20, "the first five")
        second.hello()
        second.send(*rows(1, 5), end(6))
        second.expect(Report, lambda report: report.exit_code == 6)  # the run is closing for the second time
        (fake.state_dir / "go").touch()
        report = second.expect(Report, lambda report: report.state == "finished")
    assert (report.delivered, report.pending, report.exit_code) == (10, 0, 6)


def test_a_key_that_comes_while_a_run_is_finished_without_one_still_brings_it_online(
    fake: FakeDaemon,
) -> None:
    fake.start(env={"FAKE_WORKER": "slow"})
    with WireClient(fake.endpoint, mode="online") as client:
        client.hello()
        client.send(*rows(1, 5), end(0))
        wait_until(lambda: len(fake.delivered()) == 5, 20, "the five rows")
        write_key()
        wait_until(lambda: "key_changed" in fake.told(), 20, fake.told)
        (fake.state_dir / "go").touch()
        client.expect(Report, lambda report: report.state == "finished" and report.mode == "online", 30)
    assert fake.status()["counters"]["workers_started"] == 2


def test_a_key_that_comes_while_a_worker_is_being_refused_without_it_is_tried_at_once(fake: FakeDaemon) -> None:
    fake.start(env={"FAKE_WORKER": "key"})
    with WireClient(fake.endpoint, mode="online") as client:
        client.hello()
        client.send(*rows(1, 5), end(0))
        wait_until(lambda: workers(fake), 20, "a worker")
        wait_until(lambda: run_map(fake)["state"] == "running", 20, "its start")
        write_key()
        wait_until(lambda: "key_changed" in fake.told(), 20, fake.told)
        (fake.state_dir / "go").touch()
        client.expect(Report, lambda report: report.state == "finished", 30)
    assert "restart_in_s=0.0" in fake.told(), "and not after the pause of a refused run"


def test_a_finished_run_whose_notes_are_gone_is_left_offline_and_says_what_to_do(fake: FakeDaemon) -> None:
    fake.start()
    with WireClient(fake.endpoint, mode="online") as client:
        client.hello()
        client.send(*rows(1, 5), end(0))
        client.expect(Report, lambda report: report.state == "finished", 30)
        shutil.rmtree(fake.state_dir / "workers")
        write_key()
        wait_until(lambda: "run_stays_offline run=1" in fake.told(), 20, fake.told)
        assert "wandb sync" in fake.told()
        assert run_map(fake)["state"] == "finished"
        assert fake.status()["counters"]["workers_started"] == 1


def write_key() -> None:
    """A W&B key where the daemon looks for one."""
    server = os.environ["WANDB_BASE_URL"].partition("//")[2]
    Path(os.environ["NETRC"]).write_text(f"machine {server} login user password {'0123456789' * 4}\n")


def test_the_launchers_exit_code_counts_when_the_interpreter_just_ended(fake: FakeDaemon) -> None:
    fake.start()
    launch = new_session()
    with WireClient(fake.endpoint, role="console", launch=launch) as console:
        console.hello()
        console.send(Output("stdout", "epoch 1\n", 1))
        with WireClient(fake.endpoint, launch=launch) as train:
            train.hello()
            train.send(*rows(1, 5), end(None, implicit=True))
            train.wait_acked()
        wait_until(lambda: run_map(fake)["delivered"] == 5, 20)
        assert fake.ask("launch", launch=launch)["settled"] is False
        console.send(end(137))
        report = console.expect(Report, lambda report: report.state == "finished")
        assert report.exit_code == 137
    assert fake.ask("launch", launch=launch)["settled"] is True


def test_a_spool_that_a_dead_process_left_is_adopted_and_its_folder_removed(fake: FakeDaemon) -> None:
    hello = Hello(new_session(), run=RunSpec(run_id="run", mode="offline"), pid=a_dead_process().pid)
    folder = leave_spool(fake.spool_dir, hello, (1, rows(1, 40)), (41, [*rows(41, 9), end(4, implicit=True)]))
    fake.start()
    run = wait_run(fake, "finished")
    assert (run["offered"], run["delivered"], run["exit_code"]) == (49, 49, 4)
    assert fake.delivered() == [(hello.session, number) for number in range(1, 50)]
    wait_until(lambda: not folder.exists(), 20, "the removal of the folder, which comes last")


def test_a_process_that_died_without_an_end_is_lost_and_only_what_was_not_acked_is_taken_from_its_spool(
    fake: FakeDaemon,
) -> None:
    fake.start()
    owner = WireClient(fake.endpoint)
    owner.hello()
    owner.send(*rows(1, 30))
    owner.wait_acked()
    folder = leave_spool(fake.spool_dir, owner.hello_message, (1, rows(1, 30)), (31, rows(31, 12)))
    assert run_map(fake)["offered"] == 30
    owner.close()
    run = wait_run(fake, "finished")
    assert (run["delivered"], run["exit_code"]) == (42, 255)
    assert fake.delivered() == [(owner.session, number) for number in range(1, 43)]
    wait_until(lambda: not folder.exists(), 20, "the removal of the folder, which comes last")
    wait_until(lambda: fake.status()["counters"]["sessions_lost"] == 1, 20, "its count")


def test_a_living_owners_spool_is_left_alone(fake: FakeDaemon) -> None:
    hello = Hello(new_session(), run=RunSpec(run_id="run"), pid=os.getpid())
    folder = leave_spool(fake.spool_dir, hello, (1, rows(1, 3)))
    lock = OwnerLock.take(folder)
    assert lock is not None
    dead = Hello(new_session(), run=RunSpec(run_id="dead"), pid=1)
    leave_spool(fake.spool_dir, dead, (1, [*rows(1, 1), end()]))
    fake.start()
    wait_run(fake, "finished", "dead")  # a whole round has gone over the spool
    assert folder.exists()
    assert fake.status()["offered"] == 1
    lock.release()
    wait_until(lambda: len(fake.status()["runs"]) == 2, 20, "the adoption of the second spool")
    assert wait_run(fake, "finished")["delivered"] == 3


def test_a_gap_and_damage_in_a_journal_cost_only_what_they_hit(fake: FakeDaemon) -> None:
    gap = Hello(new_session(), run=RunSpec(run_id="gap"))
    leave_spool(fake.spool_dir, gap, (1, rows(1, 5)), (11, [*rows(11, 5), end()]))
    torn = Hello(new_session(), run=RunSpec(run_id="torn"))
    folder = leave_spool(fake.spool_dir, torn, (1, rows(1, 5)), (6, [*rows(6, 5), end()]))
    data = bytearray((folder / "00000001.seg").read_bytes())
    data[-90] ^= 0xFF  # within the last record of the first segment
    (folder / "00000001.seg").write_bytes(data)
    nameless = leave_spool(fake.spool_dir, Hello(new_session(), run=RunSpec(run_id="x")), (1, rows(1, 5)))
    (nameless / "hello.msgpack").write_bytes(b"\xc1")
    foreign = leave_spool(fake.spool_dir, Hello(new_session(), run=RunSpec(run_id="../up")), (1, rows(1, 5)))
    fake.start()
    assert wait_run(fake, "finished", "gap")["delivered"] == 10
    assert wait_run(fake, "finished", "torn")["delivered"] == 9
    assert nameless.exists()
    assert foreign.exists()
    assert fake.status()["counters"]["adoption_errors"] == 2


def test_a_process_that_died_without_a_spool_is_noticed(fake: FakeDaemon) -> None:
    fake.start()
    with WireClient(fake.endpoint, pid=a_dead_process().pid) as client:
        client.hello()
        client.send(*rows(1, 3))
        client.wait_acked()
        assert run_map(fake)["state"] in ("starting", "running")
    run = wait_run(fake, "finished")
    assert (run["delivered"], run["exit_code"]) == (3, 255)


def test_a_damaged_inbox_is_moved_aside_at_start_and_the_daemon_serves(fake: FakeDaemon) -> None:
    fake.state_dir.mkdir(parents=True)
    (fake.state_dir / "inbox.sqlite3").write_bytes(b"\0garbage" * 5000)
    fake.start()
    assert fake.status()["counters"]["inboxes_moved_aside"] == 1
    assert "inbox_moved_aside" in fake.told()
    assert list(fake.state_dir.glob("inbox.sqlite3.corrupt-*"))
