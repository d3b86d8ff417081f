"""The forward proxy on loopback through which wandb-core of a run worker uploads where there is a limit.

It takes CONNECT (https://) and whole URLs (http://), from those alone who know its credential: one that was made up for
this process, and that wandb-core is told over its socket. What goes to the server asks the Line before each piece; what
comes back is passed on at once. TLS goes through as it is: wandb-core checks W&B's certificate itself.

Invariants
* It lives on a thread of its own in the run worker, and ends with it.
* A connection's trouble ends that connection; wandb-core tries again as it would without a proxy.
* Of one upload no more than a few pieces lie here: who sends faster is not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Coroutine, Mapping
from typing import Any

from telemetryd.runs.limits import (
    UPLOAD_DIAL_TIMEOUT_S,
    UPLOAD_FINISH_TIMEOUT_S,
    UPLOAD_HEAD_MAX_BYTES,
    UPLOAD_HEAD_TIMEOUT_S,
    UPLOAD_LINGER_S,
    UPLOAD_PIECE_BYTES,
)
from telemetryd.runs.upload_limit import dial, heads, route
from telemetryd.runs.upload_limit.pace import Flow, Line, Turns

log = logging.getLogger(__name__)

_USER = "telemetryd"
_UPLOADS = frozenset({"PUT", "PATCH"})
_TROUBLE = (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError)


class UploadProxy:
    """See the module's head."""

    def __init__(self, line: Line, server_host: str, environ: Mapping[str, str]) -> None:
        """`server_host` is W&B's own: other hosts are storage. Listens when this returns. Raises OSError."""
        self._line = line
        self._server_host = server_host.lower()
        self._environ = dict(environ)
        self._password = secrets.token_hex(16)
        self._turns = Turns()
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._listening = threading.Event()
        self._error: OSError | None = None
        self._port = 0
        self._thread = threading.Thread(target=self._main, name="upload limit", daemon=True)
        self._thread.start()
        self._listening.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error

    @property
    def url(self) -> str:
        """Where it listens, with its credential: for wandb-core alone, and for no log."""
        return f"http://{_USER}:{self._password}@127.0.0.1:{self._port}"

    @property
    def settings(self) -> dict[str, Any]:
        """What wandb must be told: to upload through it, and to take its time."""
        return {"http_proxy": self.url, "https_proxy": self.url, "finish_timeout": UPLOAD_FINISH_TIMEOUT_S}

    def close(self) -> None:
        """Stop, and hang up on whoever is connected."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._line.close()

    def _main(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._listening.set()
            self._loop.close()

    async def _serve(self) -> None:
        connections: set[asyncio.Task[None]] = set()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                await self._connection(reader, writer)
            except asyncio.CancelledError:
                if not self._ended.is_set():
                    raise
            finally:
                connections.discard(task)

        try:
            listener = await asyncio.start_server(take, "127.0.0.1", 0, limit=UPLOAD_HEAD_MAX_BYTES)
        except OSError as error:
            self._error = error
            return
        self._port = listener.sockets[0].getsockname()[1]
        self._listening.set()
        async with listener:
            await self._ended.wait()
            for task in list(connections):
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            await self._carry(reader, writer, writers)
        except _TROUBLE as error:
            log.info("upload_connection_ended reason=%r", f"{type(error).__name__}: {error}")
        finally:
            for each in writers:
                each.close()
            for each in writers:
                with contextlib.suppress(*_TROUBLE):
                    await each.wait_closed()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, writers: list[asyncio.StreamWriter]
    ) -> None:
        head = await asyncio.wait_for(reader.readuntil(heads.END), UPLOAD_HEAD_TIMEOUT_S)
        upward: dial.Streams | None = None
        try:
            request = heads.parse(head)
            if not heads.same(request.value("proxy-authorization"), heads.basic(_USER, self._password)):
                refusal = heads.refusal(407, "Proxy Authentication Required", "it is for its own wandb-core")
            else:
                upward = await asyncio.wait_for(self._onward(request), UPLOAD_DIAL_TIMEOUT_S)
        except heads.BadHeadError as error:
            refusal = heads.refusal(400, "Bad Request", str(error))
        except _TROUBLE as error:
            reason = str(error) or type(error).__name__
            log.warning("server_not_reached host=%s port=%d reason=%r", request.host, request.port, reason)
            refusal = heads.refusal(502, "Bad Gateway", f"{request.host} cannot be reached: {reason}")
        if upward is None:
            writer.write(refusal)
            await writer.drain()
            return
        writers.append(upward[1])
        if request.path is None:
            writer.write(b"HTTP/1.1 200 Connection established" + heads.END)
        flow = Flow(is_upload=request.method in _UPLOADS or request.host.lower() != self._server_host)
        await self._exchange(
            self._up(reader, upward[1], flow), _down(upward[0], writer, framed=request.path is not None), upward[1]
        )

    async def _onward(self, request: heads.Request) -> dial.Streams:
        """A connection to where the request goes, with its head written."""
        scheme = "https" if request.path is None else "http"
        hop = route.hop_for(scheme, request.host, request.port, self._environ)
        if request.path is None:
            return await dial.tunnel(hop, request.host, request.port)
        if hop is None or hop.kind == "socks5":
            streams = await dial.tunnel(hop, request.host, request.port)
            streams[1].write(heads.passed_on(request, to_proxy=False))
            return streams
        streams = await dial.proxy(hop)
        streams[1].write(heads.passed_on(request, to_proxy=True, authorization=dial.authorization(hop)))
        return streams

    async def _exchange(
        self, up: Coroutine[Any, Any, None], down: Coroutine[Any, Any, None], server: asyncio.StreamWriter
    ) -> None:
        """Both directions, until the server has hung up or, soon after the client has, nothing more comes."""
        rising, falling = asyncio.ensure_future(up), asyncio.ensure_future(down)
        try:
            await asyncio.wait({rising, falling}, return_when=asyncio.FIRST_COMPLETED)
            if not falling.done():
                rising.result()
                if server.can_write_eof():
                    server.write_eof()
                await asyncio.wait({falling}, timeout=UPLOAD_LINGER_S)
            if falling.done():
                falling.result()
        finally:
            for task in (rising, falling):
                task.cancel()
            await asyncio.gather(rising, falling, return_exceptions=True)

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flow: Flow) -> None:
        while data := await reader.read(UPLOAD_PIECE_BYTES):
            if flow.sends(time.monotonic(), len(data)):
                await self._wait(len(data), urgent=True)
            else:
                async with self._turns.turn(flow.rank):
                    await self._wait(len(data), urgent=False)
            writer.write(data)
            await writer.drain()

    async def _wait(self, size: int, *, urgent: bool) -> None:
        while wait_s := self._line.wait_s(size, urgent=urgent):
            await asyncio.sleep(wait_s)


async def _down(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, framed: bool) -> None:
    """Pass on what the server says; of an answer by http:// the head is told to be the connection's last."""
    last = not framed
    while not last:
        head, last = heads.answered(await reader.readuntil(heads.END))
        writer.write(head)
    while data := await reader.read(UPLOAD_PIECE_BYTES):
        writer.write(data)
        await writer.drain()
