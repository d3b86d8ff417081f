"""HTTP for the server: one Handler per connection, requests one after another on it (keep-alive).

The order of a request: read → known key? → a fault for it? → apply → answer → remembered. A fault's "before" and
"after" are before and after `apply`.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import logging
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from . import graphql, limits, transfer
from .faults import Fault
from .listener import reset
from .transfer import Answer, as_json

if TYPE_CHECKING:
    from .server import Server

log = logging.getLogger("standin")


class _CutError(Exception):
    """This connection is to end now, without an answer."""


class Handler(BaseHTTPRequestHandler):
    """Serves one connection to its end within the constructor, as http.server has it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    timeout = limits.IDLE_CONNECTION_S
    server: Server  # type: ignore[assignment]

    def __init__(self, connection: socket.socket, address: tuple[str, int], server: Server):
        super().__init__(connection, address, server)  # type: ignore[arg-type]

    def handle(self) -> None:
        """All requests of the connection."""
        with contextlib.suppress(_CutError):
            super().handle()

    def finish(self) -> None:
        """Flush and close, whatever state the socket is in."""
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Silence http.server: requests are remembered in the server."""

    def do_POST(self) -> None:
        """Every method goes one way."""
        self._serve()

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST

    # the order of a request

    def _serve(self) -> None:
        split = urlsplit(self.path)
        self.parts = [unquote(part) for part in split.path.strip("/").split("/")]
        self.query = {name: values[-1] for name, values in parse_qs(split.query).items()}
        self.base_url = f"{self.server.scheme}://{self.headers.get('Host') or self.server.url.partition('://')[2]}"
        self.read = False
        if self.parts[0] == "_control":
            self._send(as_json(*self.server.control.answer(self.parts[1:], self.query, self._body())))
            return
        places, run = self._places()
        about = {"method": self.command, "path": self.path, "place": places[-1], "run": run, "fault": None, "status": 0}
        try:
            about["status"] = self._with_fault(places, run, about)
        finally:
            self.server.note(**about)

    def _with_fault(self, places: list[str], run: str, about: dict[str, Any]) -> int:
        fault = self.server.faults.take(places, run)
        if fault:
            about["fault"] = fault.kind
        if fault and not (fault.kind in ("slow", "drop_after") or (fault.kind == "hang" and fault.after)):
            return self._send(self._refusal(fault))
        if fault and fault.kind == "slow":
            fault.released.wait(fault.seconds or 0)
        answer = self._applied(places[1])
        if fault and fault.kind == "hang":
            self._hang(fault)
        if fault and fault.kind == "drop_after":
            if answer.file:
                answer.file.close()
            self._cut()
        return self._send(answer)

    def _places(self) -> tuple[list[str], str]:
        """What the request is known under to faults, general to special, and the run it is about."""
        first, parts = self.parts[0], self.parts
        if first == "graphql":
            try:
                self.request_body = json.loads(self._body() or b"{}")
                self.document = graphql.parse(self.request_body.get("query") or "")
            except (ValueError, graphql.GraphQLError) as error:
                self.document = graphql.Document(name=f"unreadable: {error}")
            given = self.request_body.get("variables") or {}
            names = [given.get("input"), given]
            found = next((n.get("runName") or n.get("run") or n.get("name") for n in names if isinstance(n, dict)), "")
            return ["*", "graphql", f"graphql:{self.document.name}"], str(found or "")
        if first == "files" and parts[-1] == "file_stream" and len(parts) == 5:
            return ["*", "file_stream"], "/".join(parts[1:4])
        if first in ("storage", "artifacts", "artifactsV2", "files"):
            kind = "run" if first == "files" or parts[1:2] == ["run"] else "artifact"
            way = "upload" if self.command in ("PUT", "POST") else "download"
            return ["*", way, f"{way}:{kind}"], "/".join(parts[2:5]) if kind == "run" else ""
        return ["*", "other"], ""

    def _refusal(self, fault: Fault) -> Answer:
        if fault.kind == "hang":
            self._hang(fault)
        if fault.kind == "drop_before":
            self._cut()
        self._drain()
        if fault.kind == "garbage":
            return Answer(200, b"\x00<html>this is not what you asked for \xff{", "text/html")
        if fault.kind == "graphql_error":
            return as_json({"errors": [{"message": fault.message}], "data": None})
        answer = as_json({"error": fault.message, "errors": [{"message": fault.message}]}, fault.status)
        if fault.retry_after_s is not None:
            answer.headers["Retry-After"] = str(fault.retry_after_s)
        return answer

    def _hang(self, fault: Fault) -> None:
        """Say nothing until the fault is cleared, its time is over, or the peer gives up; then end the connection."""
        deadline = time.monotonic() + (fault.seconds if fault.seconds is not None else float("inf"))
        self.connection.settimeout(0.2)
        while not fault.released.is_set() and time.monotonic() < deadline:
            try:
                if not self.connection.recv(limits.CHUNK_BYTES):  # a body still coming is read and thrown away
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        reset(self.connection)
        raise _CutError

    # the body

    def _chunks(self) -> Iterator[bytes]:
        self.read = True
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            chunk = self.rfile.read(min(left, limits.CHUNK_BYTES))
            if not chunk:
                raise _CutError  # the peer went in the middle of its body: nothing of it counts
            left -= len(chunk)
            yield chunk

    def _drain(self) -> None:
        if not self.read:
            for _ in self._chunks():
                pass

    def _body(self) -> bytes:
        if int(self.headers.get("Content-Length") or 0) > limits.MAX_BODY_BYTES:
            self._cut()
        body = b"".join(self._chunks())
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    # applying

    def _applied(self, place: str) -> Answer:
        try:
            return self._apply(place)
        except (_CutError, OSError):
            raise
        except Exception as error:
            log.exception("failed path=%s", self.path)
            self.server.note_unknown(f"{self.path} failed: {error!r}")
            self._drain()
            return as_json({"errors": [{"message": f"the stand-in failed: {error!r}"}]}, 400)  # 500 would be retried

    def _apply(self, place: str) -> Answer:
        server, parts = self.server, self.parts
        if place in ("graphql", "file_stream") and not self._known():
            self._drain()
            return as_json({"errors": [{"message": "user is not logged in"}], "error": "user is not logged in"}, 401)
        if place == "graphql":
            if self.document.name.startswith("unreadable"):
                return as_json({"errors": [{"message": self.document.name}]}, 400)
            variables = self.request_body.get("variables") or {}
            status, answer = server.graphql(self.document, variables, self.base_url)
            return as_json(answer, status)
        if place == "file_stream":
            status, answer = server.file_stream("/".join(parts[1:4]), json.loads(self._body() or b"{}"))
            return as_json(answer, status)
        if place == "upload":
            md5 = self.headers.get("Content-MD5") or ""
            return transfer.upload(server, parts, md5, self._chunks()) or self._missing()
        self._drain()
        if place == "download":
            return transfer.download(server, parts, self.base_url, self.headers.get("Range") or "") or self._missing()
        if parts == ["healthz"]:
            return as_json({"ok": True})
        if parts[:2] == ["sdk", "otel"]:  # wandb-core's telemetry about itself: 404 says "this server takes none"
            return as_json({"error": "no telemetry here"}, 404)
        page = server.page("/".join([*parts[:2], parts[3]])) if len(parts) == 4 and parts[2] == "runs" else None
        return Answer(200, page.encode(), "text/plain; charset=utf-8") if page else self._missing()

    def _missing(self) -> Answer:
        self._drain()
        if self.parts[0] not in ("", "favicon.ico", "storage", "artifacts", "artifactsV2", "files"):
            self.server.note_unknown(f"{self.command} {urlsplit(self.path).path}")
        return as_json({"error": "not found"}, 404)

    def _known(self) -> bool:
        """Whether the request carries a key we accept: any, unless some were named."""
        scheme, _, value = (self.headers.get("Authorization") or "").partition(" ")
        try:
            key = base64.b64decode(value).decode().partition(":")[2] if scheme.lower() == "basic" else value
        except ValueError:
            return False
        return bool(key) and (self.server.keys is None or key in self.server.keys)

    # answering

    def _send(self, answer: Answer) -> int:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.type)
        self.send_header("Content-Length", str(answer.size if answer.file else len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if answer.file:
            with answer.file as file:
                left = answer.size
                while self.command != "HEAD" and left and (chunk := file.read(min(left, limits.CHUNK_BYTES))):
                    self.wfile.write(chunk)
                    left -= len(chunk)
        elif self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()
        return answer.status
