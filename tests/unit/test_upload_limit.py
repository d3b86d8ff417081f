"""The limit on uploads: the token bucket, the heads of requests, the environment's proxies, and the proxy itself."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetryd.runs import limits
from telemetryd.runs.upload_limit import heads, route
from telemetryd.runs.upload_limit.pace import Flow, Line, Turns, grant
from telemetryd.runs.upload_limit.proxy import UploadProxy
from telemetryd.runs.upload_limit.route import Hop, RouteError, hop_for

MB = 10**6
S = 10**9
SLACK_BYTES = limits.UPLOAD_PIECE_BYTES


# The bucket


@given(
    rate=st.integers(256 << 10, 10**9),
    asks=st.lists(
        st.tuples(st.integers(0, S), st.integers(1, limits.UPLOAD_PIECE_BYTES), st.booleans()), min_size=1, max_size=200
    ),
)
def test_in_no_time_more_is_sent_than_the_limit_and_the_credit_allow(
    rate: int, asks: list[tuple[int, int, bool]]
) -> None:
    now, until, sent = 0, 0, 0
    for passed_ns, size, urgent in asks:
        now += passed_ns
        until, wait_ns = grant(now, until, size, rate, urgent=urgent)
        if not wait_ns:
            sent += size
        assert sent <= rate * (now / S + limits.UPLOAD_PROMPT_CREDIT_S) + SLACK_BYTES


def test_whoever_asks_again_after_the_wait_sends_at_the_limit() -> None:
    now, until, sent = 7 * S, 0, 0
    while now < 17 * S:
        until, wait_ns = grant(now, until, 65536, 4 * MB, urgent=False)
        now += wait_ns
        sent += 0 if wait_ns else 65536
    assert sent == pytest.approx(4 * MB * (10 + limits.UPLOAD_BURST_S), rel=0.01)


def test_urgent_bytes_pass_a_line_that_uploads_wait_for_and_uploads_pay_for_them() -> None:
    until, _ = grant(0, 0, MB, MB, urgent=False)  # taken for a second
    assert grant(0, until, 100, MB, urgent=False)[1] > 0
    until, wait_ns = grant(0, until, MB // 2, MB, urgent=True)
    assert wait_ns == 0
    assert grant(0, until, 100, MB, urgent=False)[1] == 1.5 * S - limits.UPLOAD_BURST_S * S
    until, _ = grant(0, until, MB, MB, urgent=True)
    assert grant(0, until, 100, MB, urgent=True)[1] > 0, "there is an end to that, too"


def test_a_line_that_was_taken_before_the_machine_started_is_free() -> None:
    assert grant(5 * S, 9_000 * S, 1000, MB, urgent=False) == (5 * S + S // 1000, 0)


def test_workers_share_what_they_may_send(tmp_path: Path) -> None:
    def clock() -> int:
        return 100 * S

    with closing(Line(tmp_path / "line", MB, clock)) as one, closing(Line(tmp_path / "line", MB, clock)) as other:
        assert one.wait_s(MB, urgent=False) == 0
        assert other.wait_s(1, urgent=False) == pytest.approx(1 - limits.UPLOAD_BURST_S)
        assert (tmp_path / "line").stat().st_mode & 0o777 == 0o600


def test_a_connection_that_sends_little_is_urgent_and_an_upload_never_is() -> None:
    rows, upload = Flow(is_upload=False), Flow(is_upload=True)
    assert rows.sends(0.0, limits.UPLOAD_PROMPT_BYTES)
    assert not rows.sends(1.0, 1), "it sends much"
    assert rows.sends(limits.UPLOAD_PROMPT_WINDOW_S, 1), "and after a while little again"
    assert not upload.sends(0.0, 1)
    assert rows.rank < upload.rank


def test_who_has_sent_least_is_next_and_who_gave_up_is_passed_over() -> None:
    async def main() -> list[str]:
        turns, order = Turns(), []

        async def ask(name: str, rank: tuple[bool, int]) -> None:
            async with turns.turn(rank):
                order.append(name)
                await asyncio.sleep(0)

        async with turns.turn((True, 0)):
            waiting = [
                asyncio.create_task(ask(name, rank))
                for name, rank in (
                    ("file", (True, 9)),
                    ("new file", (True, 1)),
                    ("gone", (False, 0)),
                    ("rows", (False, 5)),
                )
            ]
            await asyncio.sleep(0)
            waiting[2].cancel()
            await asyncio.sleep(0)
        await asyncio.gather(*waiting, return_exceptions=True)
        await ask("later", (True, 1))
        return order

    assert asyncio.run(main()) == ["rows", "new file", "file", "later"]


# Heads


def test_a_request_by_url_is_passed_on_without_what_is_the_proxy_s_own() -> None:
    request = heads.parse(
        b"PUT http://w.example:8080/a/b?c=d HTTP/1.1\r\nHost: w.example:8080\r\nProxy-Authorization: Basic x\r\n"
        b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nContent-Length: 3\r\n\r\n"
    )
    assert (request.host, request.port) == ("w.example", 8080)
    assert heads.passed_on(request, to_proxy=False) == (
        b"PUT /a/b?c=d HTTP/1.1\r\nHost: w.example:8080\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
    )
    assert heads.passed_on(request, to_proxy=True, authorization="Basic y") == (
        b"PUT http://w.example:8080/a/b?c=d HTTP/1.1\r\nHost: w.example:8080\r\nContent-Length: 3\r\n"
        b"Proxy-Authorization: Basic y\r\nConnection: close\r\n\r\n"
    )


def test_an_answer_is_told_to_be_the_last_and_an_interim_one_is_not() -> None:
    assert heads.answered(b"HTTP/1.1 100 Continue\r\n\r\n") == (b"HTTP/1.1 100 Continue\r\n\r\n", False)
    assert heads.answered(b"HTTP/1.1 200 OK\r\nKeep-Alive: 9\r\nA: b\r\n\r\n") == (
        b"HTTP/1.1 200 OK\r\nA: b\r\nConnection: close\r\n\r\n",
        True,
    )


@pytest.mark.parametrize(
    "head",
    [b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET http:// HTTP/1.1\r\n\r\n", b"GET http://a HTTP/2\r\n\r\n",
     b"GET http://a:99999/ HTTP/1.1\r\n\r\n", b"CONNECT :443 HTTP/1.1\r\n\r\n",
     b"GET http://a/ HTTP/1.1\r\n folded\r\n\r\n", b"GET ftp://a/ HTTP/1.1\r\n\r\n", b"\xff\xfe\r\n\r\n"],
)  # fmt: skip
def test_a_head_that_no_proxy_can_act_on_is_refused(head: bytes) -> None:
    with pytest.raises(heads.BadHeadError):
        heads.parse(head)


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_request_or_refused(noise: bytes) -> None:
    try:
        heads.parse(noise + heads.END)
    except heads.BadHeadError:
        pass


# The environment's proxies


@pytest.mark.parametrize(
    ("environ", "scheme", "host", "port", "hop"),
    [
        ({}, "https", "api.wandb.ai", 443, None),
        ({"HTTPS_PROXY": "http://p:3128"}, "https", "api.wandb.ai", 443, Hop("http", "p", 3128)),
        ({"https_proxy": "p"}, "https", "api.wandb.ai", 443, Hop("http", "p", 80)),
        ({"HTTPS_PROXY": "http://p:3128"}, "http", "api.wandb.ai", 80, None),
        ({"HTTP_PROXY": "https://u%40x:a%3Ab@p"}, "http", "w", 80, Hop("https", "p", 443, "u@x", "a:b")),
        ({"HTTPS_PROXY": "socks5h://p"}, "https", "w", 443, Hop("socks5", "p", 1080)),
        ({"HTTPS_PROXY": "http://p", "https_proxy": "http://q"}, "https", "w", 443, Hop("http", "p", 80)),
        ({"HTTPS_PROXY": "http://p"}, "https", "localhost", 443, None),
        ({"HTTPS_PROXY": "http://p"}, "https", "127.0.0.9", 443, None),
        ({"HTTPS_PROXY": "http://p"}, "https", "::1", 443, None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "*"}, "https", "w", 443, None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "a.com, wandb.ai"}, "https", "API.wandb.ai", 443, None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "wandb.ai"}, "https", "notwandb.ai", 443, Hop("http", "p", 80)),
        ({"HTTPS_PROXY": "http://p", "no_proxy": ".wandb.ai"}, "https", "wandb.ai", 443, Hop("http", "p", 80)),
        ({"HTTPS_PROXY": "http://p", "no_proxy": "*.wandb.ai"}, "https", "api.wandb.ai", 443, None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "w:8443"}, "https", "w", 443, Hop("http", "p", 80)),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "w:8443"}, "https", "w", 8443, None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8"}, "https", "10.2.3.4", 443, None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8"}, "https", "11.2.3.4", 443, Hop("http", "p", 80)),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "fd00::1,[fd00::2]:443"}, "https", "fd00::2", 443, None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "x/y"}, "https", "w", 443, Hop("http", "p", 80)),
    ],
)  # fmt: skip
def test_the_proxies_of_the_environment_are_those_that_wandb_core_would_take(
    environ: dict[str, str], scheme: str, host: str, port: int, hop: Hop | None
) -> None:
    assert hop_for(scheme, host, port, environ) == hop


@pytest.mark.parametrize("url", ["ftp://p", "http://", "http://p:port"])
def test_a_proxy_that_cannot_be_is_named_by_its_variable_and_its_password_is_not(url: str) -> None:
    with pytest.raises(RouteError, match="HTTPS_PROXY names no proxy"):
        hop_for("https", "w", 443, {"HTTPS_PROXY": url})
    assert "secret" not in repr(route.hop_for("https", "w", 443, {"HTTPS_PROXY": "http://u:secret@p"}))


# The proxy


class Peer:
    """A server that answers each connection by `talk`, on a thread."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.heads: list[bytes] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.talk(connection)

    def talk(self, connection: socket.socket) -> None:
        """Answer a request by its body's length, or echo what is no HTTP."""
        data = b""
        while more := connection.recv(65536):
            data += more
            head, end, body = data.partition(heads.END)
            if data.startswith(b"echo"):
                connection.sendall(more)
            elif end and len(body) >= int(heads_value(head, "content-length") or 0):
                self.heads.append(head)
                answer = f"{len(body)}".encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
                return  # as `Connection: close` asks

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


class Further(Peer):
    """A proxy that is the server itself."""

    def talk(self, connection: socket.socket) -> None:
        if connection.recv(7, socket.MSG_PEEK) == b"CONNECT":
            self.heads.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 200 Fine\r\nA: b\r\n\r\n")
        super().talk(connection)


class Socks(Peer):
    """A SOCKS5 proxy that wants the name "u" and the password "p", and then is the server itself."""

    def talk(self, connection: socket.socket) -> None:
        assert connection.recv(4) == b"\x05\x02\x00\x02"
        connection.sendall(b"\x05\x02")
        assert connection.recv(5) == b"\x01\x01u\x01p"
        connection.sendall(b"\x01\x00")
        self.heads.append(connection.recv(64))
        connection.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        super().talk(connection)


def heads_value(head: bytes, name: str) -> str:
    lines = head.decode("latin-1").split("\r\n")
    return next((line.split(": ")[1] for line in lines if line.lower().startswith(f"{name}: ")), "")


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.close()


_numbers = itertools.count()


def proxy_of(folder: Path, environ: dict[str, str] | None = None) -> UploadProxy:
    def clock() -> int:
        return next(_numbers) * S  # there is always room

    return UploadProxy(Line(folder / "line", 1 << 40, clock), "w.example", environ or {})


def ask(proxy: UploadProxy, request: bytes, *, credential: bool = True) -> socket.socket:
    """A connection to the proxy on which `request` was sent, with its credential after the first line."""
    address, _, port = proxy.url.rpartition(":")
    first, _, rest = request.partition(b"\r\n")
    user, _, password = address.removeprefix("http://").rpartition("@")[0].partition(":")
    line = f"Proxy-Authorization: {heads.basic(user, password)}\r\n".encode() if credential else b""
    connection = socket.create_connection(("127.0.0.1", int(port)), timeout=20)
    connection.sendall(first + b"\r\n" + line + rest)
    return connection


def all_of(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def put(port: int, body: bytes, host: str = "127.0.0.1") -> bytes:
    head = f"PUT http://{host}:{port}/x HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_requests_and_tunnels_go_through_it_and_only_with_its_credential(tmp_path: Path, peer: Peer) -> None:
    tunnel = f"CONNECT 127.0.0.1:{peer.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with closing(proxy_of(tmp_path)) as proxy:
        with ask(proxy, put(peer.port, b"x" * 300_000)) as connection:
            said = all_of(connection)
        assert said.startswith(b"HTTP/1.1 200 OK\r\n")
        assert said.endswith(b"Connection: close\r\n\r\n300000")
        assert b"Proxy-Authorization" not in peer.heads[0]
        with ask(proxy, tunnel) as connection:
            assert connection.recv(100) == b"HTTP/1.1 200 Connection established\r\n\r\n"
            connection.sendall(b"echo")
            assert connection.recv(100) == b"echo"
            connection.shutdown(socket.SHUT_WR)
            assert all_of(connection) == b""
        for request in (tunnel, put(peer.port, b"")):
            with ask(proxy, request, credential=False) as connection:
                assert all_of(connection).startswith(b"HTTP/1.1 407 ")
        with ask(proxy, b"GET /metrics HTTP/1.1\r\n\r\n") as connection:
            assert all_of(connection).startswith(b"HTTP/1.1 400 ")
        assert len(peer.heads) == 1


def test_a_server_that_cannot_be_reached_is_told_and_tried_again_by_wandb_core(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    with closing(proxy_of(tmp_path)) as proxy, ask(proxy, put(port, b"")) as connection:
        assert all_of(connection).startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_proxy_of_the_environment_is_the_next_on_the_way(tmp_path: Path, scheme: str) -> None:
    with closing(Further()) as further:
        environ = {f"{scheme.upper()}_PROXY": f"http://u:p@127.0.0.1:{further.port}"}
        with closing(proxy_of(tmp_path, environ)) as proxy:
            if scheme == "http":
                with ask(proxy, put(8080, b"abc", "w.example")) as connection:
                    assert all_of(connection).endswith(b"\r\n\r\n3")
                assert further.heads[0].startswith(b"PUT http://w.example:8080/x HTTP/1.1\r\n")
            else:
                with ask(proxy, b"CONNECT w.example:443 HTTP/1.1\r\n\r\n") as connection:
                    assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
                    connection.sendall(b"echo")
                    assert connection.recv(100) == b"echo"
                assert further.heads[0].startswith(b"CONNECT w.example:443 HTTP/1.1\r\n")
        assert heads_value(further.heads[0], "proxy-authorization") == heads.basic("u", "p"), "its own, and not ours"


def test_a_socks_proxy_of_the_environment_is_the_next_on_the_way(tmp_path: Path) -> None:
    with closing(Socks()) as socks:
        environ = {"HTTP_PROXY": f"socks5://u:p@127.0.0.1:{socks.port}"}
        with closing(proxy_of(tmp_path, environ)) as proxy, ask(proxy, put(80, b"abc", "w.example")) as connection:
            assert all_of(connection).endswith(b"\r\n\r\n3")
        assert socks.heads[0] == b"\x05\x01\x00\x03\x09w.example\x00\x50"
