"""Peers that break every rule, while an honest client logs: nobody else notices, and the daemon's memory stays."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zmq

from client.policy import Policy
from client.protocol import frames
from client.protocol.limits import BATCH_MAX_BYTES, HEADER_MAX_BYTES
from client.protocol.messages import Ack, Hello, Refuse, RunSpec, Welcome
from client.protocol.records import End, Row, encode
from client.session import Session
from tests.support.fake_daemon import FakeDaemon
from tests.support.processes import wait_until
from tests.support.wire_client import WireClient, encode_all, new_session

GROWTH_MAX_MIB = 64
"""What an attack below may leave in the daemon's resident memory: the largest messages are 32 MiB, and the allocator
and ZeroMQ's queues keep some of what was in use at once."""

LARGE_GIVEN_BACK_MIB = 8
"""Less than one of the large messages: all of their memory goes back."""

PER_SILENT_CONNECTION_MAX_KIB = 40
"""Descriptors, ZeroMQ's engine and its 8 KiB buffers; measured: about 20."""


@pytest.fixture
def fake(isolated: Path, tmp_path: Path) -> Iterator[FakeDaemon]:
    state = isolated / "state" / "t"
    daemon = FakeDaemon(tmp_path / "daemon", f"ipc://{isolated / 'run'}/d.sock", state, state / "spool")
    yield daemon.start()
    daemon.end()


class Honest:
    """A client that logs a row again and again while somebody misbehaves, and has every one of them in the end."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self._daemon = daemon
        self._client = WireClient(daemon.endpoint, run_id="honest")
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._log, name="honest")
        self.longest_s = 0.0
        self.failed: BaseException | None = None

    def __enter__(self) -> Honest:
        self._client.hello()
        self._thread.start()
        return self

    def _log(self) -> None:
        try:
            while True:
                began_s = time.monotonic()
                self._client.send(Row(self._client.sent, 0, {"loss": 1.0}))
                self._client.wait_acked()
                self.longest_s = max(self.longest_s, time.monotonic() - began_s)
                if self._end.wait(0.005):
                    return
        except BaseException as error:
            self.failed = error

    def __exit__(self, *_: object) -> None:
        with self._client as client:
            self._end.set()
            self._thread.join(30)
            assert self.failed is None, self.failed
            sent = client.sent
            assert sent > 0
            client.send(End(1, exit_code=0))
            client.wait_acked()
            wait_until(lambda: self._run()["state"] == "finished", 30, lambda: str(self._daemon.status()))
        run = self._run()
        assert (run["offered"], run["delivered"], run["dropped"], run["pending"]) == (sent, sent, {}, 0)

    def _run(self) -> dict:
        return self._daemon.ask("run", key="//honest")


def rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has no VmRSS")


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


@contextlib.contextmanager
def bounded_memory(daemon: FakeDaemon, growth_max_mib: float = GROWTH_MAX_MIB) -> Iterator[None]:
    daemon.status()
    before = rss_mib(daemon.pid)
    yield
    wait_until(
        lambda: rss_mib(daemon.pid) <= before + growth_max_mib, 10, lambda: f"{before} → {rss_mib(daemon.pid)} MiB"
    )


def refusal(client: WireClient, timeout_s: float = 15.0) -> Refuse:
    return client.expect(Refuse, timeout_s=timeout_s)


def row_batch(session: str, first: int = 1) -> list[bytes]:
    return [bytes(part) for part in frames.batch(session, first, first, encode_all([Row(0, 0, {})], first), 1)]


def test_a_flood_of_garbage_frames_is_refused_by_type_and_counted(fake: FakeDaemon) -> None:
    dice = random.Random(3)
    whole = row_batch(new_session())
    with bounded_memory(fake), Honest(fake), WireClient(fake.endpoint) as peer:
        for _ in range(500):
            head, payload = whole
            kind = dice.randrange(4)
            if kind == 0:
                parts = [dice.randbytes(dice.randrange(200))]
            elif kind == 1:
                parts = [head[: dice.randrange(len(head))], payload]  # truncated
            elif kind == 2:
                parts = [head, payload[: dice.randrange(len(payload))]]
            else:
                parts = [dice.randbytes(20) for _ in range(dice.randrange(3, 60))]
            peer.send_frames(parts)
            assert refusal(peer).code == "malformed", parts
    counters = fake.status()["counters"]
    assert counters["refused_malformed"] == 500
    assert counters["reception_errors"] == 0


def test_oversized_messages_are_refused_or_cut_off_and_leave_no_memory(fake: FakeDaemon) -> None:
    with bounded_memory(fake), Honest(fake):
        for _ in range(6):
            with WireClient(fake.endpoint) as peer:
                peer.send_frames([b"x" * (HEADER_MAX_BYTES + 1)])
                assert refusal(peer).code == "oversized"
                head = frames.batch(peer.session, 1, 1, b"", 0)[0]
                peer.send_frames([head, bytes(BATCH_MAX_BYTES + 1)])
                assert refusal(peer).code == "oversized"
        with WireClient(fake.endpoint) as peer:  # far beyond: ZeroMQ drops the connection before it is read
            peer.send_frames([bytes(4 * BATCH_MAX_BYTES)])
            peer.reconnect()
            assert peer.hello().acked == 0
    assert fake.status()["counters"]["refused_oversized"] == 12


def test_a_huge_hello_is_refused_and_the_largest_allowed_one_is_taken(fake: FakeDaemon) -> None:
    with bounded_memory(fake), Honest(fake), WireClient(fake.endpoint) as peer:
        hello = Hello(peer.session, run=RunSpec("big", mode="offline", config={"x": "y" * HEADER_MAX_BYTES}))
        peer.send_frames([msgspec.msgpack.encode(hello)])
        assert refusal(peer).code == "oversized"
        assert hello.run is not None
        hello.run.config = {"x": "y" * (HEADER_MAX_BYTES - 1000)}
        peer.send_frames([msgspec.msgpack.encode(hello)])
        assert peer.expect(Welcome).acked == 0


def test_another_major_is_refused_with_both_versions_and_a_later_minor_is_welcome(fake: FakeDaemon) -> None:
    with Honest(fake), WireClient(fake.endpoint) as peer:
        peer.hello_message.major = 9
        peer.send_frames([msgspec.msgpack.encode(peer.hello_message)])
        refused = refusal(peer)
        assert refused.code == "version"
        assert "9." in refused.message
        assert "update the older side" in refused.message
        peer.hello_message.major, peer.hello_message.minor = 1, 99
        assert peer.hello().major == 1
    assert fake.status()["counters"]["refused_version"] == 1


def test_replayed_and_out_of_window_batches_store_nothing_twice(fake: FakeDaemon) -> None:
    with Honest(fake), WireClient(fake.endpoint, run_id="replay") as peer:
        peer.hello()
        for _ in range(200):
            peer.send_frames(row_batch(peer.session))
        peer.wait_acked(1)
        for first in (3, 1000, 2**40, 2**63 - 2):
            peer.send_frames(row_batch(peer.session, first))
            refused = refusal(peer)
            assert (refused.code, refused.acked) == ("gap", 1)
        assert fake.ask("run", key="//replay")["offered"] == 1
    counters = fake.status()["counters"]
    assert counters["refused_gap"] == 4
    assert counters["records_repeated"] == 199


def test_a_claim_on_another_s_session_is_refused_whatever_it_claims_to_be(fake: FakeDaemon) -> None:
    with Honest(fake), WireClient(fake.endpoint, run_id="mine") as owner:
        owner.hello()
        owner.send(Row(0, 0, {"mine": 1}))
        owner.wait_acked()
        claims = [
            WireClient(fake.endpoint, session=owner.session, run_id="mine", pid=os.getpid() + 1),
            WireClient(fake.endpoint, session=owner.session, run_id="other"),
            WireClient(fake.endpoint, session=owner.session, role="console", launch="ab" * 16),
        ]
        try:
            for thief in claims:
                thief.send_frames(frames.pack(thief.hello_message))
                assert refusal(thief).code == "session_taken"
                thief.send_frames(row_batch(owner.session, 2))
                assert refusal(thief).code == "unknown_session"
            owner.bye()  # even when the owner has no connection, another process never becomes it
            for thief in claims:
                thief.send_frames(frames.pack(thief.hello_message))
                assert refusal(thief).code == "session_taken"
        finally:
            for thief in claims:
                thief.close()
        owner.reconnect()
        assert owner.hello().acked == 1
    counters = fake.status()["counters"]
    assert counters["refused_session_taken"] == 6
    assert counters["refused_unknown_session"] == 3


def test_raw_garbage_on_the_socket_ends_only_its_own_connection(fake: FakeDaemon) -> None:
    dice = random.Random(5)
    path = fake.endpoint.removeprefix("ipc://")
    greeting = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
    with bounded_memory(fake), Honest(fake):
        for number in range(300):
            with socket.socket(socket.AF_UNIX) as raw:
                raw.settimeout(10)
                raw.connect(path)
                # every third speaks ZMTP first, and lies about a frame of 2^60 bytes then
                lie = greeting + b"\x04\x19\x05READY" + b"\x02" + (1 << 60).to_bytes(8, "big") + b"x" * 1000
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    raw.sendall(lie if number % 3 == 0 else dice.randbytes(dice.randrange(1, 5000)))
    assert fake.status()["counters"]["reception_errors"] == 0


def test_raw_garbage_over_tcp_ends_only_its_own_connection(fake: FakeDaemon) -> None:
    fake.stop()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    fake.endpoint = f"tcp://127.0.0.1:{port}"
    fake.start()
    dice = random.Random(6)
    with bounded_memory(fake), Honest(fake):
        for request in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", *(dice.randbytes(3000) for _ in range(100))):
            with (
                socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
                contextlib.suppress(BrokenPipeError, ConnectionResetError),
            ):
                raw.sendall(request)


def test_ten_thousand_connections_that_say_nothing_leave_room_for_the_others(
    fake: FakeDaemon, record_property: pytest.RecordProperty
) -> None:
    """As many as the hard limit of open files allows, where that is lower; the number is recorded."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 10_000
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, wanted + 1000)), hard))
    count = min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1000)
    record_property("silent_connections", count)
    path = fake.endpoint.removeprefix("ipc://")
    silent: list[socket.socket] = []
    try:
        with (
            bounded_memory(fake, GROWTH_MAX_MIB + count * PER_SILENT_CONNECTION_MAX_KIB / 1024),
            Honest(fake) as honest,
        ):
            for _ in range(count):
                one = socket.socket(socket.AF_UNIX)
                silent.append(one)
                one.connect(path)  # waits for its place in the daemon's backlog
            with WireClient(fake.endpoint, run_id="late") as late:
                late.hello()
                late.send(Row(0, 0, {}))
                late.wait_acked()
        assert honest.longest_s < 10
        assert descriptors(fake.pid) > count * 0.9
    finally:
        for one in silent:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_until(lambda: descriptors(fake.pid) < 200, 20, "the daemon's descriptors to be free again")


def test_peers_that_greet_and_vanish_are_forgotten(fake: FakeDaemon) -> None:
    with bounded_memory(fake), Honest(fake):
        for number in range(150):
            with WireClient(fake.endpoint, run_id=f"gone{number % 3}", pid=os.getpid()) as peer:
                peer.hello()
    with WireClient(fake.endpoint) as client:
        client.hello()
        client.send(Row(0, 0, {}))
        assert client.expect(Ack).acked == 1


def test_a_peer_that_sends_far_beyond_its_window_without_reading_is_held_to_its_share(fake: FakeDaemon) -> None:
    context = zmq.Context()
    greedy = context.socket(zmq.DEALER)
    greedy.set(zmq.LINGER, 0)
    greedy.set(zmq.SNDHWM, 4)
    greedy.set(zmq.RCVHWM, 1)
    greedy.connect(fake.endpoint)
    try:
        with bounded_memory(fake, LARGE_GIVEN_BACK_MIB), Honest(fake):
            parts = frames.batch("ab" * 16, 1, 1, bytes(8 << 20), 0)  # nobody has greeted for this session
            poller = zmq.Poller()
            poller.register(greedy, zmq.POLLOUT)
            for _ in range(40):
                if poller.poll(5000):
                    greedy.send_multipart(parts)
    finally:
        greedy.close()
        context.term()
    assert fake.status()["counters"]["refused_unknown_session"] > 10


def test_when_descriptors_run_short_the_crowd_is_dropped_and_a_client_comes_back_and_loses_nothing(
    fake: FakeDaemon,
) -> None:
    path = fake.endpoint.removeprefix("ipc://")
    limit = 1000
    hello = Hello(new_session(), run=RunSpec("honest", mode="offline"), pid=os.getpid(), host=os.uname().nodename)
    session = Session.open(hello, endpoint=fake.endpoint, spool_dir=fake.spool_dir, policy=Policy())
    logged = 0
    with contextlib.ExitStack() as crowd:
        assert session.wait_connected(15)
        resource.prlimit(fake.pid, resource.RLIMIT_NOFILE, (limit, limit))

        def dropped() -> bool:
            nonlocal logged
            for _ in range(10):
                logged += session.append(encode(Row(logged, 1, {"loss": 1.0})))
                try:
                    crowd.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
                except (FileNotFoundError, ConnectionRefusedError):
                    return True
            return False

        wait_until(dropped, 20, "the end of the crowd", poll_s=0.01)
        assert session.wait_acked(20)
    session.record(End(1, 0))
    assert session.close(15)
    wait_until(lambda: fake.ask("run", key="//honest")["delivered"] == logged, 20, lambda: str(fake.status()))
    assert fake.status()["counters"]["crowds_dropped"] >= 1
    assert fake.status()["dropped"] == {}
