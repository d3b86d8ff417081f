"""A connection to a server, itself or through the proxy that the environment names.

Raises ConnectionError and other OSErrors, whose text names who did not answer, and never tells a credential.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl

from telemetryd.runs.limits import UPLOAD_HEAD_MAX_BYTES
from telemetryd.runs.upload_limit import heads
from telemetryd.runs.upload_limit.route import Hop

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_SOCKS_OK = b"\x05\x00"


async def server(host: str, port: int) -> Streams:
    """A connection to the server itself."""
    return await asyncio.open_connection(host, port, limit=UPLOAD_HEAD_MAX_BYTES, happy_eyeballs_delay=0.25)


async def proxy(hop: Hop) -> Streams:
    """A connection to a further proxy."""
    if hop.kind != "https":
        return await server(hop.host, hop.port)
    context = ssl.create_default_context()
    return await asyncio.open_connection(hop.host, hop.port, limit=UPLOAD_HEAD_MAX_BYTES, ssl=context)


async def tunnel(hop: Hop | None, host: str, port: int) -> Streams:
    """A connection to the server, through the proxy where there is one."""
    if hop is None:
        return await server(host, port)
    reader, writer = await proxy(hop)
    try:
        if hop.kind == "socks5":
            await _socks5(reader, writer, hop, host, port)
        else:
            await _connect(reader, writer, hop, host, port)
    except asyncio.IncompleteReadError:
        writer.close()
        raise ConnectionError(f"the proxy {hop.host}:{hop.port} hung up") from None
    except BaseException:
        writer.close()
        raise
    return reader, writer


def authorization(hop: Hop) -> str | None:
    """What the proxy is to be told."""
    return heads.basic(hop.user, hop.password) if hop.user is not None else None


async def _connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hop: Hop, host: str, port: int) -> None:
    writer.write(heads.connect(host, port, authorization(hop)))
    answer = heads.status(await reader.readuntil(heads.END))
    if not 200 <= answer < 300:
        raise ConnectionError(f"the proxy {hop.host}:{hop.port} answered {answer}")


async def _socks5(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hop: Hop, host: str, port: int) -> None:
    """RFC 1928, with a name and a password (RFC 1929) where the proxy wants them."""
    methods = b"\x00" if hop.user is None else b"\x00\x02"
    writer.write(bytes([5, len(methods)]) + methods)
    method = (await reader.readexactly(2))[1]
    if method == 2 and hop.user is not None:
        writer.write(b"\x01" + _counted(hop.user.encode()) + _counted(hop.password.encode()))
        if (await reader.readexactly(2))[1] != 0:
            raise ConnectionError(f"the proxy {hop.host}:{hop.port} does not take its password")
    elif method != 0:
        raise ConnectionError(f"the proxy {hop.host}:{hop.port} wants credentials")
    writer.write(b"\x05\x01\x00" + _socks_address(host) + port.to_bytes(2, "big"))
    answer = await reader.readexactly(4)
    if answer[:2] != _SOCKS_OK:
        raise ConnectionError(f"the proxy {hop.host}:{hop.port} cannot reach {host}:{port} (SOCKS {answer[1]})")
    length = {1: 4, 4: 16}.get(answer[3]) or (await reader.readexactly(1))[0]
    await reader.readexactly(length + 2)


def _socks_address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return b"\x03" + _counted(host.encode("idna"))
    return (b"\x01" if address.version == 4 else b"\x04") + address.packed


def _counted(data: bytes) -> bytes:
    return bytes([len(data)]) + data
