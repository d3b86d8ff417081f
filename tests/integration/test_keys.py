"""Over TCP with keys: who gets in, who does not, what an eavesdropper sees, and keys that change amid training."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from client import guard, keys
from client.connection import Connection, ask
from client.errors import NoAnswerError
from client.protocol import frames
from client.protocol.messages import Ask, Hello, RunSpec
from client.protocol.records import Row, encode
from client.session import Session
from telemetryd.cli.main import main
from telemetryd.reception import keys as daemon_keys
from telemetryd.reception.socket import make_pair
from tests.support.daemon import Daemon
from tests.support.fake_daemon import FakeDaemon
from tests.support.processes import wait_until

METRIC = "a_metric_that_nobody_else_may_see"


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def folder(isolated: Path) -> Path:
    """The keys' folder of the state folder that the environment points to, with keys in it."""
    made = isolated / "state" / "telemetryd" / "keys"
    daemon_keys.prepare(made, make_pair)
    return made


@pytest.fixture
def keyed(isolated: Path, tmp_path: Path, port: int, folder: Path) -> Iterator[Daemon]:
    """A daemon on TCP with keys, whose workers deliver nothing."""
    state = isolated / "state" / "telemetryd"
    daemon = FakeDaemon(tmp_path / "daemon", f"tcp://127.0.0.1:{port}", state, state / "spool")
    daemon.key_file = folder / "client.key"
    daemon.start()
    yield daemon
    daemon.end()


def session(endpoint: str, spool_dir: Path, number: str = "ab") -> Session:
    return Session.open(
        Hello(number * 16, run=RunSpec("r", project="p"), pid=os.getpid(), start_time_ns=1),
        endpoint=endpoint,
        spool_dir=spool_dir,
    )


def swallowed() -> list[str]:
    """What telemetry swallowed here, which the test expects."""
    said = [str(error) for _, error in guard.raised]
    guard.raised.clear()
    return said


def test_the_key_files_are_their_owners_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "add", "node1"]) == 0
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in (folder / "server.key", folder / "client.key", folder / "client-node1.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        secret = re.search(r'secret-key = "(.{40})"', path.read_text())
        assert secret is not None
        assert secret[1] not in capsys.readouterr().out
    assert main(["keys", "add", "node1"]) == 5
    assert main(["keys", "remove", "nobody"]) == 5
    assert "the clients are: client, node1" in capsys.readouterr().err


def test_an_endpoint_beyond_this_machine_is_refused_without_keys(isolated: Path, port: int) -> None:
    command = [sys.executable, "-m", "telemetryd", "serve", "--endpoint", f"tcp://0.0.0.0:{port}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 5
    assert "needs keys: make them with `telemetryd keys`" in ran.stderr


def test_with_the_right_key_rows_arrive_and_questions_are_answered(keyed: Daemon, isolated: Path) -> None:
    assert ask(keyed.endpoint, "ping", {}, 10)["pid"]
    opened = session(keyed.endpoint, isolated / "spool")
    opened.append(encode(Row(0, 1, {METRIC: 1.0})))
    assert opened.wait_acked(20)
    assert opened.close(10)


def test_an_unknown_key_is_refused_with_a_clear_message_on_both_sides(
    keyed: Daemon, folder: Path, isolated: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stranger = isolated / "stranger.key"
    public, secret = make_pair()
    (server,) = keys.read(folder / "client.key").servers
    stranger.write_text(
        f'public-key = "{public.decode()}"\nsecret-key = "{secret.decode()}"\nserver-key = "{server.decode()}"\n'
    )
    monkeypatch.setenv("TELEMETRYD_KEY_FILE", str(stranger))
    with pytest.raises(NoAnswerError, match=r"does not know the key in .*stranger.key"):
        ask(keyed.endpoint, "status", {}, 10)
    opened = session(keyed.endpoint, isolated / "spool")
    opened.append(encode(Row(0, 1, {METRIC: 1.0})))
    wait_until(lambda: opened.refusal, 20, "the refusal")
    assert not opened.wait_acked(0.1)
    assert not opened.close(0.1)
    assert "does not know the key" in capfd.readouterr().err
    assert any("does not know the key" in text for text in swallowed())
    wait_until(lambda: "is unknown" in keyed.told(), 20, lambda: keyed.told())
    assert "handshake_refused" in keyed.told()
    monkeypatch.delenv("TELEMETRYD_KEY_FILE")
    status = keyed.status()
    assert status["counters"]["refused_key"] >= 2
    assert (status["offered"], status["runs"]) == (0, [])


def test_a_client_without_a_key_is_refused_and_told_what_to_do(
    keyed: Daemon, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEMETRYD_STATE_DIR", str(isolated / "elsewhere"))
    with pytest.raises(NoAnswerError, match=r"wants a key: .*TELEMETRYD_KEY_FILE"):
        ask(keyed.endpoint, "status", {}, 10)
    monkeypatch.delenv("TELEMETRYD_STATE_DIR")
    wait_until(lambda: keyed.status()["counters"]["refused_key"] >= 1, 20, "the count")


def test_a_key_of_another_daemon_is_refused_and_told(
    keyed: Daemon, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon_keys.prepare(isolated / "other", make_pair)
    monkeypatch.setenv("TELEMETRYD_KEY_FILE", str(isolated / "other" / "client.key"))
    with pytest.raises(NoAnswerError, match="it has another key than the one in"):
        ask(keyed.endpoint, "status", {}, 10)


def test_a_key_file_that_cannot_be_read_is_an_error_of_init(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import client

    monkeypatch.setenv("TELEMETRYD_ENDPOINT", "tcp://127.0.0.1:9")
    monkeypatch.setenv("TELEMETRYD_KEY_FILE", str(isolated / "nothing"))
    with pytest.raises(client.UsageError, match=r"cannot be read .* TELEMETRYD_KEY_FILE"):
        client.init()


class Tap:
    """A TCP proxy that keeps every byte that passes: what an eavesdropper has."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._target = port
        self.port = self._listener.getsockname()[1]
        self.seen = bytearray()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                inside, _ = self._listener.accept()
            except OSError:
                return
            outside = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [inside, outside]
            for one, other in ((inside, outside), (outside, inside)):
                thread = threading.Thread(target=self._pass_on, args=(one, other))
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(1 << 16):
                self.seen += data
                other.sendall(data)
        except OSError:
            return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for open_socket in self._sockets:
            open_socket.close() if open_socket.fileno() < 0 else (shut(open_socket), open_socket.close())
        for thread in self._threads:
            thread.join(10)


def shut(open_socket: socket.socket) -> None:
    try:
        open_socket.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


@pytest.mark.parametrize("with_keys", [True, False])
def test_an_eavesdropper_sees_no_metric_name(
    isolated: Path, tmp_path: Path, port: int, with_keys: bool, folder: Path
) -> None:
    """Without keys, on loopback, the same tap does see it: the tap works."""
    state = isolated / "state" / "telemetryd"
    if not with_keys:
        for path in folder.glob("*.key"):
            path.unlink()
    daemon = FakeDaemon(tmp_path / "daemon", f"tcp://127.0.0.1:{port}", state, state / "spool")
    daemon.key_file = folder / "client.key" if with_keys else None
    daemon.start()
    tap = Tap(port)
    try:
        opened = session(f"tcp://127.0.0.1:{tap.port}", isolated / "spool")
        for number in range(100):
            opened.append(encode(Row(number, 1, {METRIC: number})))
        assert opened.wait_acked(20)
        assert opened.close(10)
    finally:
        tap.close()
        daemon.end()
    assert len(tap.seen) > 100 * len(METRIC)
    assert (METRIC.encode() in tap.seen) is not with_keys
    assert (b"hello" in tap.seen) is not with_keys


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_unknown_clients_cannot_log_read_or_make_the_daemon_grow(keyed: Daemon, folder: Path) -> None:
    (server,) = keys.read(folder / "client.key").servers
    context = zmq.Context()
    message = b"x" * (1 << 20)

    def storm(count: int) -> None:
        """Strangers that connect with a key of their own, and try to say and to ask things before they are refused."""
        sockets = []
        for _ in range(count):
            stranger = context.socket(zmq.DEALER)
            stranger.set(zmq.LINGER, 0)
            stranger.set(zmq.CURVE_SERVERKEY, server)
            public, secret = zmq.curve_keypair()
            stranger.set(zmq.CURVE_PUBLICKEY, public)
            stranger.set(zmq.CURVE_SECRETKEY, secret)
            stranger.connect(keyed.endpoint)
            with contextlib.suppress(zmq.Again):  # it was refused already
                stranger.send_multipart(frames.pack(Ask(1, "status", {})), zmq.NOBLOCK)
                stranger.send_multipart([message], zmq.NOBLOCK)
            sockets.append(stranger)
        assert not any(stranger.poll(20) for stranger in sockets[:20]), "somebody was answered"
        for stranger in sockets:
            stranger.close(0)

    storm(50)
    wait_until(lambda: keyed.status()["counters"]["refused_key"] >= 40, 30, "the first refusals")
    before = resident_bytes(keyed.pid)
    for _ in range(4):
        refused = keyed.status()["counters"]["refused_key"]
        storm(100)
        wait_until(lambda: keyed.status()["counters"]["refused_key"] >= refused + 80, 30, "the refusals")  # noqa: B023
    grown = resident_bytes(keyed.pid) - before
    context.term()
    assert grown < 24 << 20, f"400 strangers, each with a message of 1 MiB in hand: {grown / 2**20:.1f} MiB"
    status = keyed.status()
    assert (status["offered"], status["runs"], status["counters"]["bytes_received"]) == (0, [], 0)


def test_keys_change_while_a_session_logs_and_no_row_is_lost(
    keyed: Daemon, folder: Path, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["keys", "add", "first"]) == 0
    mine = isolated / "mine.key"
    shutil.copy(folder / "client-first.key", mine)
    wait_until(lambda: "clients=2" in keyed.told(), 20, keyed.told)
    monkeypatch.setenv("TELEMETRYD_KEY_FILE", str(mine))
    opened = session(keyed.endpoint, isolated / "spool")
    number = 0

    def log_some() -> None:
        nonlocal number
        for _ in range(10):
            opened.append(encode(Row(number, 1, {METRIC: number})))
            number += 1
        assert opened.wait_acked(40), (opened.refusal, keyed.told())

    log_some()
    assert main(["keys", "rotate"]) == 0
    shutil.copy(folder / "client-first.key", mine)
    log_some()
    assert main(["keys", "switch"]) == 0
    wait_until(lambda: "server=new" in keyed.told(), 20, keyed.told)
    log_some()
    assert swallowed() == [], "with the next key in the file the change is not even noticed"
    assert main(["keys", "add", "second"]) == 0
    wait_until(lambda: "clients=3" in keyed.told(), 20, keyed.told)
    shutil.copy(folder / "client-second.key", mine)
    assert main(["keys", "remove", "first"]) == 0
    wait_until(lambda: keyed.told().count("clients=2") == 2, 20, keyed.told)
    log_some()
    assert opened.close(20)
    assert keyed.status()["offered"] == number
    swallowed()


def test_a_client_that_was_taken_out_is_put_out(
    keyed: Daemon, folder: Path, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["keys", "add", "guest"]) == 0
    guest = isolated / "guest.key"
    (folder / "client-guest.key").rename(guest)
    wait_until(lambda: "clients=2" in keyed.told(), 20, keyed.told)
    monkeypatch.setenv("TELEMETRYD_KEY_FILE", str(guest))
    opened = session(keyed.endpoint, isolated / "spool")
    opened.append(encode(Row(0, 1, {METRIC: 1.0})))
    assert opened.wait_acked(20)
    assert main(["keys", "remove", "guest"]) == 0
    wait_until(lambda: opened.refusal, 30, keyed.told)
    opened.append(encode(Row(1, 1, {METRIC: 1.0})))
    assert not opened.close(0.1)
    assert any("does not know the key" in text for text in swallowed())


def test_the_connection_tries_each_of_the_daemons_keys_in_turn(keyed: Daemon, folder: Path) -> None:
    text = (folder / "client.key").read_text()
    other = make_pair()[0].decode()
    (folder / "client.key").write_text(text.replace("server-key", f'server-key = "{other}"\nserver-key', 1))
    connection = Connection(keyed.endpoint)
    try:
        question = frames.pack(Ask(1, "ping", {}))

        def asked() -> bool:
            connection.mind_the_handshake(time.monotonic())
            return connection.send(question)

        wait_until(asked, 20, "the second key")
        assert connection.wait(10)
    finally:
        connection.close()
