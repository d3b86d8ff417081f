"""The heads of HTTP/1.1 requests and answers, as far as a proxy must read and change them. Pure.

A request that is no CONNECT is passed on with `Connection: close`, and so is its answer: each connection carries one
request, and what follows the head can go on unread in both directions.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

END = b"\r\n\r\n"
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-authorization", "proxy-connection", "upgrade"})


class BadHeadError(ValueError):
    """This is no head that a proxy can act on; the message says why."""


@dataclass(frozen=True)
class Request:
    """`host` and `port` of the server; `path` is None for CONNECT."""

    method: str
    host: str
    port: int
    path: str | None
    fields: Sequence[tuple[str, str]]

    def value(self, name: str) -> str:
        """A field's value, empty where it is missing."""
        return next((value for key, value in self.fields if key.lower() == name), "")


def parse(head: bytes) -> Request:
    """A request as a client sends it to a proxy. Raises BadHeadError."""
    first, fields = _split(head)
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadHeadError("this is no HTTP/1.1 request")
    method, target, _ = words
    if method == "CONNECT":
        host, port = _host_port(f"//{target}", 443)
        return Request(method, host, port, None, fields)
    if not target.lower().startswith("http://"):
        raise BadHeadError("a proxy is asked with CONNECT or an http:// URL")
    host, port = _host_port(target, 80)
    parts = urlsplit(target)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Request(method, host, port, path, fields)


def passed_on(request: Request, *, to_proxy: bool, authorization: str | None = None) -> bytes:
    """The head for the server, or for a further proxy with its `authorization`."""
    path = request.path or "/"
    authority = request.value("host") or _authority(request.host, request.port, 80)
    target = f"http://{_authority(request.host, request.port, 80)}{path}" if to_proxy else path
    fields = _kept(request.fields)
    if not request.value("host"):
        fields.append(("Host", authority))
    if authorization is not None:
        fields.append(("Proxy-Authorization", authorization))
    return _joined(f"{request.method} {target} HTTP/1.1", [*fields, ("Connection", "close")])


def answered(head: bytes) -> tuple[bytes, bool]:
    """An answer's head for the client, and whether it is the last one (and not a 100 Continue). Raises BadHeadError."""
    first, fields = _split(head)
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal():
        raise BadHeadError("this is no HTTP/1.1 answer")
    if 100 <= int(words[1]) < 200:
        return head, False
    return _joined(first, [*_kept(fields), ("Connection", "close")]), True


def connect(host: str, port: int, authorization: str | None) -> bytes:
    """The question for a tunnel through a further proxy."""
    fields = [("Host", _authority(host, port, None))]
    if authorization is not None:
        fields.append(("Proxy-Authorization", authorization))
    return _joined(f"CONNECT {_authority(host, port, None)} HTTP/1.1", fields)


def status(head: bytes) -> int:
    """An answer's number. Raises BadHeadError."""
    words = head.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise BadHeadError("this is no HTTP/1.1 answer")
    return int(words[1])


def refusal(number: int, reason: str, why: str) -> bytes:
    """A whole answer of the proxy's own."""
    body = f"telemetryd's upload limit: {why}\n".encode()
    fields = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    if number == 407:
        fields.append(("Proxy-Authenticate", 'Basic realm="telemetryd"'))
    return _joined(f"HTTP/1.1 {number} {reason}", [*fields, ("Connection", "close")]) + body


def basic(user: str, password: str) -> str:
    """The value of Authorization for a name and a password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def same(given: str, wanted: str) -> bool:
    """Whether two credentials are the same, in a time that tells nothing of where they differ."""
    return hmac.compare_digest(given.encode("latin-1"), wanted.encode("latin-1"))


def _split(head: bytes) -> tuple[str, list[tuple[str, str]]]:
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    fields = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadHeadError("a field of the head has no name")
        fields.append((name, value.strip()))
    return first, fields


def _kept(fields: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    named = {word.strip().lower() for key, value in fields if key.lower() == "connection" for word in value.split(",")}
    return [(key, value) for key, value in fields if key.lower() not in _HOP_BY_HOP | named]


def _joined(first: str, fields: Sequence[tuple[str, str]]) -> bytes:
    lines = [first, *(f"{key}: {value}" for key, value in fields)]
    return "\r\n".join(lines).encode("latin-1") + END


def _host_port(url: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise BadHeadError("the request names no server")
    return host, port or default_port


def _authority(host: str, port: int, default_port: int | None) -> str:
    bare = f"[{host}]" if ":" in host else host
    return bare if port == default_port else f"{bare}:{port}"
