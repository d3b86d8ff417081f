"""The HTTP server: a thread that accepts, and one for each request that is being answered, a few at most.

Invariants
* Nothing here is waited for by reception, supervision or delivery; no lock of theirs is held while a client is slow.
* Read only: GET and HEAD. Neither keys nor a run's config are in any answer.
* /healthz looks at memory alone: it answers while the disk, W&B or a driver hangs.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import os
import selectors
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import telemetryd
from telemetryd.errors import InboxError, PlaceError
from telemetryd.health.status import State
from telemetryd.web import exposition
from telemetryd.web.exporter import Exporter
from telemetryd.web.limits import CLIENT_TIMEOUT_S, CONNECTIONS_MAX, LOOP_STUCK_S, STOP_S
from telemetryd.web.series import series

log = logging.getLogger(__name__)

Answer = tuple[HTTPStatus, str, bytes]
TEXT, JSON, HTML = "text/plain; charset=utf-8", "application/json", "text/html; charset=utf-8"
READY_NEEDS = ("reception", "inbox")
"""The components without which nothing new can be taken."""

_INDEX = """<!doctype html><title>telemetryd</title><h1>telemetryd</h1>
<ul><li><a href="metrics">metrics</a><li><a href="status.json">status.json</a>
<li><a href="healthz">healthz</a><li><a href="readyz">readyz</a></ul>
"""


class Pages:
    """What is answered, by path. Its methods are called on request threads."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter
        self.counters = exporter.sources.counters
        self._routes: dict[str, Callable[[str], Answer]] = {
            "/": lambda accept: (HTTPStatus.OK, HTML, _INDEX.encode()),
            "/metrics": self._metrics,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/status.json": self._status,
        }

    def answer(self, target: str, accept: str) -> Answer:
        """The page at a request's target."""
        page = self._routes.get(urlsplit(target).path)
        if page is None:
            return HTTPStatus.NOT_FOUND, TEXT, f"there are {', '.join(self._routes)}\n".encode()
        return page(accept)

    def _metrics(self, accept: str) -> Answer:
        text, content_type = exposition.render(series(self._exporter.snapshot()), accept)
        return HTTPStatus.OK, content_type, text

    def _status(self, accept: str) -> Answer:
        try:
            status = self._exporter.status()
        except InboxError as error:
            return HTTPStatus.SERVICE_UNAVAILABLE, TEXT, f"the inbox cannot be read: {error}\n".encode()
        return HTTPStatus.OK, JSON, json.dumps(status, indent=2, default=str).encode() + b"\n"

    def _healthz(self, accept: str) -> Answer:
        ages_s = self._exporter.sources.pulse.ages_s()
        stuck = [
            f"{loop} has not come round for {age_s:.0f} s" for loop, age_s in ages_s.items() if age_s > LOOP_STUCK_S
        ]
        return _judged(stuck)

    def _readyz(self, accept: str) -> Answer:
        wrong = []
        for name in READY_NEEDS:
            status = self._exporter.sources.health.get(name)
            if status is None or status.state is not State.OK:
                state = "absent" if status is None else status.state.value
                wrong.append(f"{name} is {state}" + (f": {status.reason}" if status and status.reason else ""))
        return _judged(wrong)


def _judged(wrong: list[str]) -> Answer:
    if wrong:
        return HTTPStatus.SERVICE_UNAVAILABLE, TEXT, "".join(f"{line}\n" for line in wrong).encode()
    return HTTPStatus.OK, TEXT, b"ok\n"


class HttpPort:
    """The listening socket and its threads."""

    def __init__(self, address: str, exporter: Exporter) -> None:
        """Bind "host:port". Raises PlaceError when that cannot be had."""
        host, _, port = address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            self._server = _Server(_resolved(host, int(port)), Pages(exporter))
        except OSError as error:
            raise PlaceError(
                f"HTTP cannot be answered at {address} ({error.strerror or error}): free it, or choose another address"
                " with --http or TELEMETRYD_HTTP, or none with --http off"
            ) from error
        self._exporter = exporter
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._main, name="http", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        name = host.decode() if isinstance(host, bytes) else str(host)
        return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return ipaddress.ip_address(str(self._server.server_address[0])).is_loopback

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering and free the address."""
        os.close(self._wake_write)
        if self._thread.ident is not None:
            self._thread.join(STOP_S)
        self._server.server_close()
        os.close(self._wake_read)
        self._exporter.close()

    def _main(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._server.fileno(), selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while True:
                ready = [key.fd for key, _ in selector.select()]
                if self._wake_read in ready:
                    return
                self._server.handle_request()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    timeout = 0  # of the one accept in `handle_request`, which is called when somebody is there

    def __init__(self, address: tuple[socket.AddressFamily, Any], pages: Pages) -> None:
        self.address_family, where = address
        self.pages = pages
        self._free = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__(where, _Handler)

    def server_bind(self) -> None:
        """Without HTTPServer's look-up of the host's name, which may wait for a name server."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "telemetryd", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.settimeout(0)
                request.sendall(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n")
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.info("http_client_lost client=%r", client_address, exc_info=log.isEnabledFor(logging.DEBUG))


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = f"telemetryd/{telemetryd.__version__}"
    sys_version = ""
    timeout = CLIENT_TIMEOUT_S

    def do_GET(self) -> None:
        """Answer with a body."""
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        """The same without the body."""
        self._reply(with_body=False)

    def _reply(self, *, with_body: bool) -> None:
        try:
            status, content_type, body = self.server.pages.answer(self.path, self.headers.get("Accept", ""))
        except Exception as error:
            log.exception("http_page_failed path=%r", self.path)
            self.server.pages.counters.defect("http_errors", error)
            status, content_type, body = HTTPStatus.INTERNAL_SERVER_ERROR, TEXT, b"an error; the daemon's log has it\n"
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("http client=%s " + format, self.address_string(), *args)


def _resolved(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """(family, address) to bind. Raises OSError when the host's name is not known."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return family, address
