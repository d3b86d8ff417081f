"""Reception and inbox in a real daemon process, spoken to over a real socket."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import msgspec
import pytest
import zmq

from client.protocol import frames
from client.protocol.messages import Ack, Batch, Bye, Hello, Refuse, Report, RunSpec, Welcome
from client.protocol.records import End, Losses, Row
from tests.support.daemon import ask
from tests.support.fake_daemon import FakeDaemon
from tests.support.processes import wait_until
from tests.support.wire_client import WireClient, encode_all, new_session


@pytest.fixture
def fake(isolated: Path, tmp_path: Path):
    daemon = FakeDaemon(
        tmp_path / "daemon",
        f"ipc://{isolated / 'run'}/d.sock",
        isolated / "state" / "t",
        isolated / "state" / "t" / "spool",
    )
    yield daemon
    daemon.end()


def rows(first: int, count: int) -> list[Row]:
    return [Row(step, 0, {"loss": 1.0 / (step + 1)}) for step in range(first - 1, first - 1 + count)]


def run_map(daemon: FakeDaemon, run_id: str = "run") -> dict:
    return daemon.ask("run", key=f"//{run_id}")


def test_a_session_is_welcomed_its_rows_are_acked_delivered_and_its_run_finishes(fake: FakeDaemon) -> None:
    fake.start()
    with WireClient(fake.endpoint) as client:
        assert client.hello().acked == 0
        for _ in range(5):
            client.send(*rows(client.sent + 1, 10))
        client.send(End(time.time_ns(), exit_code=3))
        client.wait_acked()
        report = client.expect(Report, lambda report: report.state == "finished")
    assert (report.offered, report.delivered, report.pending, report.exit_code) == (50, 50, 0, 3)
    assert fake.delivered() == [(client.session, number) for number in range(1, 51)]
    status = fake.status()
    assert (status["offered"], status["delivered"], status["dropped"], status["pending"]) == (50, 50, {}, 0)
    assert status["counters"]["rows_received"] == 50
    assert {name: c["state"] for name, c in status["components"].items()}["reception"] == "ok"


def test_reports_tell_of_progress_and_their_numbers_add_up(fake: FakeDaemon) -> None:
    fake.start()
    with WireClient(fake.endpoint) as client:
        client.hello()
        client.send(*rows(1, 20), Losses({"spool_full": 2}), offered=25)
        report = client.expect(Report, lambda report: report.delivered == 20)
    assert (report.state, report.mode) == ("running", "offline")
    assert (report.offered, report.dropped, report.pending) == (25, {"spool_full": 2}, 3)


def test_a_gap_is_refused_with_what_is_kept_and_nothing_of_it_is_stored(fake: FakeDaemon) -> None:
    fake.start()
    with WireClient(fake.endpoint) as client:
        client.hello()
        client.send(*rows(1, 3))
        client.wait_acked()
        client.send(*rows(9, 2), first=9)
        refused = client.expect(Refuse)
        assert (refused.code, refused.acked, refused.session) == ("gap", 3, client.session)
        client.send(*rows(4, 2), first=4)
        client.wait_acked(5)
    assert run_map(fake)["offered"] == 5


def test_resent_and_overlapping_batches_are_kept_once(fake: FakeDaemon) -> None:
    fake.start()
    with WireClient(fake.endpoint) as client:
        client.hello()
        for first, count in ((1, 5), (1, 5), (3, 6), (2, 3), (1, 9)):
            client.send(*rows(first, count), first=first)
        client.wait_acked(9)
        wait_until(lambda: len(fake.delivered()) == 9, 10, lambda: str(fake.delivered()))
    assert [number for _, number in fake.delivered()] == list(range(1, 10))


def test_hostile_frames_are_refused_by_type_and_reception_goes_on(fake: FakeDaemon) -> None:
    fake.start()
    pack = msgspec.msgpack.encode
    session = new_session()
    good = Hello(session, run=RunSpec(run_id="x"))
    cases: list[tuple[list[bytes], str]] = [
        ([b"\xc1garbage"], "malformed"),
        ([b""], "malformed"),
        ([b"a", b"b", b"c"], "malformed"),
        ([b"\x91" * 100_000], "malformed"),
        ([pack({"m": "nonsense"})], "malformed"),
        ([pack({"m": "hello", "session": "../../etc"})], "malformed"),
        ([pack(Hello(session, run=RunSpec(run_id="a/b")))], "malformed"),
        ([pack(Hello(session, run=RunSpec(run_id="a", project="x" * 300)))], "malformed"),
        ([pack(Hello(session, run=RunSpec(run_id="a", directory="relative")))], "malformed"),
        ([pack(Hello(session, role="console"))], "malformed"),
        ([pack(Hello(session, role="boss"))], "malformed"),
        ([pack(Hello(session))], "malformed"),
        ([pack(Hello(session, major=99, run=RunSpec(run_id="a")))], "version"),
        ([b"x" * (2 << 20)], "oversized"),
        ([pack(Batch(session, 1, 1, 0)), b"\0" * ((32 << 20) + 1)], "oversized"),
        ([pack(Batch(session, 1, 1, 0))], "malformed"),
        ([pack(Batch(session, 1, 1, 12345)), b"wrong checksum"], "malformed"),
        ([pack(Batch(session, 5, 1, 0)), b""], "malformed"),
        (frames.batch(session, 1, 2**64 - 1, b"", 0), "malformed"),
        (frames.batch(session, 1, 1, encode_all(rows(1, 1), 1), 0), "unknown_session"),
        (frames.batch("z" * 100_000, 1, 1, encode_all(rows(1, 1), 1), 0), "unknown_session"),
        ([pack(good), b"a payload where none belongs"], "malformed"),
    ]
    with WireClient(fake.endpoint, session=session) as client, WireClient(fake.endpoint, run_id="honest") as honest:
        honest.hello()
        for parts, code in cases:
            client.send_frames(parts)
            assert client.expect(Refuse).code == code, parts[0][:60]
            honest.send(*rows(honest.sent + 1, 1))
            honest.wait_acked()
        client.hello()
        for payload in (b"\xff" * 64, b"\x05\0\0\0", encode_all(rows(1, 2), 1)):  # lengths that lie, a wrong count
            client.send_frames(frames.batch(session, 1, 3, payload, 0))
            assert client.expect(Refuse).code in ("malformed", "oversized")
        client.send(*rows(1, 1), first=1)
        client.wait_acked(1)
    counters = fake.status()["counters"]
    assert counters["refused_malformed"] >= 15
    assert counters["refused_oversized"] >= 2
    assert counters["reception_errors"] == 0


def test_a_session_of_another_process_cannot_be_claimed(fake: FakeDaemon) -> None:
    fake.start()
    with WireClient(fake.endpoint) as owner, WireClient(fake.endpoint, session=owner.session, pid=1) as thief:
        owner.hello()
        thief.send_frames(frames.pack(thief.hello_message))
        assert thief.expect(Refuse).code == "session_taken"
        thief.send(*rows(1, 1))
        assert thief.expect(Refuse).code == "unknown_session"
        owner.bye()
        wait_until(lambda: _refused(thief) == "session_taken", 5, "the refusal of another process for good")


def _refused(client: WireClient) -> str | None:
    client.send_frames(frames.pack(client.hello_message))
    message = client.receive()
    return message.code if isinstance(message, Refuse) else None


def test_the_same_process_takes_its_session_over_on_a_new_connection(fake: FakeDaemon) -> None:
    fake.start()
    with WireClient(fake.endpoint) as client:
        client.hello()
        client.send(*rows(1, 4))
        client.wait_acked()
        client.reconnect()

        def welcomed() -> bool:
            client.send_frames(frames.pack(client.hello_message))
            message = client.receive()
            assert isinstance(message, (Welcome, Refuse)), message
            assert isinstance(message, Welcome) or message.code == "session_taken"
            return isinstance(message, Welcome) and message.acked == 4

        wait_until(welcomed, 10, "the welcome on the new connection", poll_s=0.1)
        client.send(*rows(5, 1), first=5)
        client.wait_acked(5)


def test_a_second_live_connection_of_a_session_is_told_that_it_is_taken(fake: FakeDaemon) -> None:
    fake.start()
    with WireClient(fake.endpoint) as one, WireClient(fake.endpoint, session=one.session) as two:
        two.hello_message = one.hello_message
        one.hello()
        two.send_frames(frames.pack(two.hello_message))
        assert two.expect(Refuse).code == "session_taken"


def test_at_its_cap_the_inbox_refuses_and_takes_again_when_w_and_b_has_confirmed(fake: FakeDaemon) -> None:
    fake.start(["--inbox-max", str(3 << 20)], env={"FAKE_WORKER": "refuse"})
    big = [Row(step, 0, {"x": "y" * 100_000}) for step in range(5)]
    with WireClient(fake.endpoint) as client:
        client.hello()
        refusal = None
        while refusal is None:
            client.send(*big, first=client.acked + 1)
            message = client.expect((Ack, Refuse))  # type: ignore[arg-type]
            refusal = message if isinstance(message, Refuse) else None
            assert client.acked < 100
        assert refusal.code == "full"
        kept = client.acked
        assert kept >= 10
        component = fake.status()["components"]["inbox"]
        assert component["state"] == "recoverable"
        assert "cap" in component["reason"]
    fake.stop()
    fake.start(env={"FAKE_WORKER": ""})
    wait_until(lambda: len(fake.delivered()) == kept, 20, lambda: f"{len(fake.delivered())} of {kept}")
    with WireClient(fake.endpoint, session=client.session) as back:
        back.hello_message = client.hello_message
        assert back.hello().acked == kept
        back.send(*big)
        back.wait_acked()


def test_what_was_acked_survives_sigkill_of_the_daemon_in_the_middle_of_intake(fake: FakeDaemon) -> None:
    fake.start()
    with WireClient(fake.endpoint) as client:
        acked = 0
        for _ in range(3):
            client.reconnect()
            wait_until(lambda: _try_hello(client), 15, "a welcome", poll_s=0.05)
            assert client.sent >= acked
            killer = threading.Timer(0.1, fake.kill)
            begun = False
            for _ in range(4000):
                client.send(*rows(client.sent + 1, 20))
                if client.socket.poll(1):
                    client.receive()
                if client.acked > acked and not begun:  # in the middle of its work, not before its first
                    begun = True
                    killer.start()
                if begun and not killer.is_alive():
                    break
            killer.join()
            while client.socket.poll(50):
                client.receive()
            acked = client.acked
            assert acked > 0
            fake.start()
        client.reconnect()
        wait_until(lambda: _try_hello(client), 15, "a welcome", poll_s=0.05)
        kept = client.sent
        assert kept >= acked
        client.send(End(1, exit_code=0))
        client.expect(Report, lambda report: report.state == "finished")
    assert fake.delivered() == [(client.session, number) for number in range(1, kept + 1)]


def _try_hello(client: WireClient) -> bool:
    client.send_frames(frames.pack(client.hello_message))
    while client.socket.poll(200):
        message = client.receive()
        if isinstance(message, Welcome):
            client.sent = message.acked
            return True
    return False


def test_silent_connections_cost_nothing_and_hinder_nobody(fake: FakeDaemon) -> None:
    fake.start()
    path = fake.endpoint.removeprefix("ipc://")
    silent = [socket.socket(socket.AF_UNIX) for _ in range(300)]
    try:
        for one in silent:
            one.settimeout(10)
            one.connect(path)
        with WireClient(fake.endpoint) as client:
            client.hello()
            client.send(*rows(1, 10))
            client.wait_acked()
    finally:
        for one in silent:
            one.close()


def test_the_socket_lies_in_a_folder_of_the_user_alone(fake: FakeDaemon, isolated: Path) -> None:
    fake.endpoint = f"ipc://{isolated / 'run' / 'telemetryd' / 'daemon.sock'}"  # the default place
    (isolated / "run" / "telemetryd").mkdir(mode=0o755)
    fake.start()
    assert (isolated / "run" / "telemetryd").stat().st_mode & 0o777 == 0o700


def test_a_dead_daemons_socket_file_is_taken_over(fake: FakeDaemon) -> None:
    fake.start()
    fake.kill()
    assert Path(fake.endpoint.removeprefix("ipc://")).is_socket()
    fake.start()
    assert fake.ask("ping")["pid"] == fake.pid


def test_a_second_daemon_is_refused_by_endpoint_and_by_state_folder(fake: FakeDaemon, tmp_path: Path) -> None:
    fake.start()
    same_socket = FakeDaemon(tmp_path / "b", fake.endpoint, tmp_path / "state-b", tmp_path / "spool-b")
    same_state = FakeDaemon(tmp_path / "c", fake.endpoint + "2", fake.state_dir, fake.spool_dir)
    for second, words in ((same_socket, "serves on"), (same_state, "uses the state folder")):
        told = second.start_in_vain()
        assert "AlreadyServingError" in told
        assert words in told
        assert str(fake.pid) in told
    assert fake.ask("ping")["pid"] == fake.pid


def test_garbage_on_tcp_does_not_stop_reception_and_other_hosts_are_not_served(fake: FakeDaemon) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    fake.endpoint = f"tcp://127.0.0.1:{port}"
    fake.start()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as garbage:
        garbage.sendall(os.urandom(4096))
    with WireClient(fake.endpoint) as client:
        client.hello()
        client.send(*rows(1, 1))
        client.wait_acked()
    fake.stop()
    fake.endpoint = f"tcp://0.0.0.0:{port}"
    assert "beyond this machine" in fake.start_in_vain()


def test_questions_are_answered_without_hello_and_wrong_ones_with_an_error(fake: FakeDaemon) -> None:
    fake.start()
    with WireClient(fake.endpoint) as client:
        ping = client.ask("ping")
        assert ping["endpoint"] == fake.endpoint
        assert ping["pid"] == fake.pid
        for kind, args in (("weather", {}), ("run", {}), ("run", {"key": 5}), ("run", {"key": "//none"})):
            with pytest.raises(RuntimeError):
                client.ask(kind, **args)
        assert client.ask("launch", launch="f" * 32) == {"runs": [], "settled": True}


def test_bye_frees_the_session_at_once(fake: FakeDaemon) -> None:
    fake.start()
    with WireClient(fake.endpoint) as client:
        client.hello()
        client.send_frames(frames.pack(Bye(client.session)))
        client.reconnect()
        assert client.hello().acked == 0


def test_peers_that_never_read_do_not_hold_others_up(fake: FakeDaemon) -> None:
    fake.start()
    context = zmq.Context()
    deaf = context.socket(zmq.DEALER)
    deaf.set(zmq.RCVHWM, 1)
    deaf.set(zmq.LINGER, 0)
    deaf.connect(fake.endpoint)
    for _ in range(3000):
        deaf.send(b"\xc1")
    with WireClient(fake.endpoint) as client:
        client.hello()
        client.send(*rows(1, 5))
        client.wait_acked()
    deaf.close()
    context.term()
    assert ask(fake.endpoint, "ping") is not None
