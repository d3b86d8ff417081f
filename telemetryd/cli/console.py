"""The launcher's own session to the daemon: the command's output, and at last its exit code.

Nothing here raises: a console that cannot be opened, or breaks, costs the recorded output, never the command.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from client import guard
from client.protocol import records
from client.protocol.messages import Hello
from client.session import Session
from telemetryd.cli.limits import CONSOLE_CONNECT_TIMEOUT_S, CONSOLE_FLUSH_SLICE_S


class Console:
    """One per launch. Thread-safe."""

    def __init__(self, session: Session | None) -> None:
        self._session = session

    @classmethod
    def open(cls, launch: str, endpoint: str, spool_dir: Path, *, wait: bool) -> Console:
        """Open the session. `wait`: for the daemon to greet it, so that it knows this launcher before any run of it."""
        import telemetryd

        hello = Hello(
            session=os.urandom(16).hex(),
            role="console",
            launch=launch,
            pid=os.getpid(),
            host=socket.gethostname(),
            start_time_ns=time.time_ns(),
            client_version=telemetryd.__version__,
        )
        try:
            session = Session.open(hello, endpoint=endpoint, spool_dir=spool_dir)
            if wait:
                session.wait_connected(CONSOLE_CONNECT_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001
            guard.swallow("launcher.console", error)
            return cls(None)
        return cls(session)

    def output(self, record: records.Output) -> None:
        """Record what the command wrote."""
        if self._session is not None:
            self._session.record(record)

    def end(self, exit_code: int, timeout_s: float, go_on: Callable[[], bool]) -> bool:
        """Record the command's exit code and close; whether the daemon has everything. The rest stays in the spool.

        Waits for at most `timeout_s`, and only as long as `go_on` says so.
        """
        if self._session is None:
            return False
        end_s = time.monotonic() + timeout_s
        try:
            self._session.record(records.End(time.time_ns(), exit_code=exit_code))
            while not self._session.wait_acked(CONSOLE_FLUSH_SLICE_S) and time.monotonic() < end_s and go_on():
                pass
            return self._session.close(min(CONSOLE_FLUSH_SLICE_S, timeout_s))
        except Exception as error:  # noqa: BLE001
            guard.swallow("launcher.console", error)
            return False
