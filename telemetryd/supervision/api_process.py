"""The process that asks W&B about artifacts (runs/api_main.py), started at the first question and ended when nobody has
asked for a while. A thread of the daemon's owns it.

Invariants
* Every question gets one answer: the process's, or why there is none. One that hangs is killed with its wandb-core.
"""

from __future__ import annotations

import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from client.protocol.messages import Answer, Ask
from telemetryd.bell import Bell
from telemetryd.limits import API_ANSWER_TIMEOUT_S, API_BUSY_S, API_IDLE_EXIT_S
from telemetryd.runs import api_wire, predecessor
from telemetryd.supervision.worker_process import worker_environment

log = logging.getLogger(__name__)

_READ_BYTES = 1 << 18

Reply = Callable[[bytes, Answer], None]


class ApiProcess:
    """See the module's head."""

    def __init__(self, state_dir: Path, cache_max_bytes: int, reply: Reply) -> None:
        """`reply(connection, answer)` is called on the thread."""
        self._state_dir = state_dir
        self._cache_max_bytes = cache_max_bytes
        self._reply = reply
        self._bell = Bell()
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._asks: deque[tuple[bytes, Ask]] = deque()
        self._waiting: dict[int, tuple[bytes, int, float]] = {}
        self._next = 1
        self._process: subprocess.Popen[bytes] | None = None
        self._requests = self._responses = -1
        self._temp_dir = ""
        self._frames = api_wire.Frames()
        self._used_s = -API_BUSY_S
        self._end = False
        self._thread = threading.Thread(target=self._main, name="api", daemon=True)

    def pids(self) -> set[int]:
        """The process's number while it lives; waits for one that is being started."""
        with self._starting:
            process = self._process
        return set() if process is None else {process.pid}

    def busy(self) -> bool:
        """Whether somebody has asked within the last moments: a download is asked about again and again."""
        return bool(self._waiting) or time.monotonic() - self._used_s < API_BUSY_S

    def start(self) -> None:
        """Begin; the process is started at the first question."""
        self._thread.start()

    def take(self, connection: bytes, ask: Ask) -> bool:
        """Take a question."""
        with self._lock:
            self._asks.append((connection, ask))
        self._bell.ring()
        return True

    def close(self, timeout_s: float = 10.0) -> None:
        """End the process and the thread."""
        self._end = True
        self._bell.ring()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        self._bell.close()

    def _main(self) -> None:
        try:
            while not self._end:
                self._wait()
                self._bell.silence()
                try:
                    self._turn(time.monotonic())
                except OSError as error:
                    self._lose(f"the process that asks W&B cannot be used: {error}")
        finally:
            self._lose("the daemon is stopping")

    def _wait(self) -> None:
        readable = [self._bell.fileno()]
        if self._process is not None:
            readable.append(self._responses)
        select.select(readable, [], [], 1.0)

    def _turn(self, now_s: float) -> None:
        with self._lock:
            asks, self._asks = list(self._asks), deque()
        for connection, ask in asks:
            self._send(connection, ask, now_s)
        if self._process is None:
            return
        if select.select([self._responses], [], [], 0)[0]:
            self._receive()
        oldest_s = min((asked_s for _, _, asked_s in self._waiting.values()), default=now_s)
        if now_s - oldest_s > API_ANSWER_TIMEOUT_S:
            self._lose("W&B did not answer in time")
        elif self._process is not None and not self._waiting and now_s - self._used_s > API_IDLE_EXIT_S:
            self._lose("idle")

    def _send(self, connection: bytes, ask: Ask, now_s: float) -> None:
        if self._process is None:
            self._start_process()
        number, self._next = self._next, self._next + 1
        self._waiting[number] = (connection, ask.id, now_s)
        self._used_s = now_s
        view = memoryview(api_wire.pack(api_wire.Request(number, ask.args)))
        while view:
            view = view[os.write(self._requests, view) :]

    def _receive(self) -> None:
        data = os.read(self._responses, _READ_BYTES)
        if not data:
            self._lose("the process that asks W&B has died; ask again")
            return
        try:
            for response in self._frames.responses(data):
                found = self._waiting.pop(response.id, None)
                self._used_s = time.monotonic()
                if found is not None:
                    connection, ask_id, _ = found
                    self._reply(connection, Answer(ask_id, response.result, response.error))
        except ValueError as error:
            self._lose(f"the process that asks W&B speaks nonsense: {error}")

    def _start_process(self) -> None:
        requests_read, self._requests = os.pipe2(os.O_CLOEXEC)
        self._responses, responses_write = os.pipe2(os.O_CLOEXEC)
        folder = self._state_dir / "workers"
        self._temp_dir = tempfile.mkdtemp(prefix="tda-")  # short: wandb-core binds a socket below it
        command = [sys.executable, "-m", "telemetryd.runs.api_main", "--state", str(self._state_dir)]
        command += ["--requests-fd", str(requests_read), "--responses-fd", str(responses_write)]
        command += ["--cache-max-bytes", str(self._cache_max_bytes)]
        try:
            with self._starting, (folder / "api.log").open("wb") as output:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(requests_read, responses_write),
                    start_new_session=True,
                    cwd=folder,
                    env={**worker_environment(os.environ), "TMPDIR": self._temp_dir},
                )
        except BaseException:
            os.close(self._requests)
            os.close(self._responses)
            shutil.rmtree(self._temp_dir, ignore_errors=True)
            raise
        finally:
            os.close(requests_read)
            os.close(responses_write)
        self._frames = api_wire.Frames()
        log.info("api_process_started pid=%d", self._process.pid)

    def _lose(self, why: str) -> None:
        """End the process with its wandb-core, and answer what waits for it."""
        process = self._process
        if process is not None:
            log.info("api_process_ended pid=%d reason=%r", process.pid, why)
            cores = predecessor.cores_of(process.pid)
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            for pid in cores:
                predecessor.kill(pid)
            process.wait()
            self._process = None
            os.close(self._requests)
            os.close(self._responses)
            shutil.rmtree(self._temp_dir, ignore_errors=True)
        waiting, self._waiting = self._waiting, {}
        for connection, ask_id, _ in waiting.values():
            self._reply(connection, Answer(ask_id, error=why))
