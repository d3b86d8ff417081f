"""Which proxy the environment names for a server: HTTP_PROXY, HTTPS_PROXY and NO_PROXY as wandb-core reads them. Pure.

wandb-core is a Go program, and these are Go's rules (golang.org/x/net/http/httpproxy): the large names go before the
small ones, a server on loopback is never asked through a proxy, and NO_PROXY holds, with commas between, "*", names
(`example.com`, for what is below it, too; `.example.com`, for that alone), addresses and networks (`10.0.0.0/8`), each
with a port where only that is meant.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


@dataclass(frozen=True)
class Hop:
    """A proxy on the way. `kind` is http, https or socks5; `user` is None where it wants no credentials."""

    kind: str
    host: str
    port: int
    user: str | None = None
    password: str = field(default="", repr=False)


class RouteError(ValueError):
    """The environment names a proxy that cannot be used; the message says how to write one."""


def hop_for(scheme: str, host: str, port: int, environ: Mapping[str, str]) -> Hop | None:
    """The proxy for a server that is asked by `scheme` (http or https); None where it is asked itself.

    Raises RouteError.
    """
    name = f"{scheme.upper()}_PROXY"
    url = environ.get(name) or environ.get(name.lower()) or ""
    if not url or _is_excepted(host, port, environ.get("NO_PROXY") or environ.get("no_proxy") or ""):
        return None
    return _hop(url, name)


def _hop(url: str, name: str) -> Hop:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    kind = parts.scheme.lower()
    if not host or kind not in _PORTS:
        raise RouteError(
            f"{name} names no proxy that can be used: write it like http://host:3128 or socks5://host:1080"
        )
    user = unquote(parts.username) if parts.username is not None else None
    return Hop(kind.removesuffix("h"), host, port or _PORTS[kind], user, unquote(parts.password or ""))


def _is_excepted(host: str, port: int, rules: str) -> bool:
    host = host.lower().rstrip(".")
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_matches(rule.strip().lower(), host, port, address) for rule in rules.split(",") if rule.strip())


def _matches(rule: str, host: str, port: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    if rule == "*":
        return True
    if "/" in rule:
        try:
            return address is not None and address in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    bare, only_port = rule, ""
    if _address(rule) is None and rule.rpartition(":")[2].isdecimal() and ":" in rule:
        bare, _, only_port = rule.rpartition(":")
    if only_port and int(only_port) != port:
        return False
    literal = _address(bare.removeprefix("[").removesuffix("]"))
    if literal is not None:
        return literal == address
    bare = bare.removeprefix("*")
    return host.endswith(bare) if bare.startswith(".") else host == bare or host.endswith(f".{bare}")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
