"""The process behind redirect.py: shows the streams of its parent, and records them in a session of its own.

    argv: LAUNCH PARENT CONTROL NAME:OUTER:SHOWN …      descriptors by number

It says READY once it reads. It ends when the parent says so (it shuts its side of CONTROL down) or is gone, and says
RECORDED once everything is. What the parent's children still write is shown until they are gone, too.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time

from client import guard, places
from client.console.redirect import READY, RECORDED
from client.console.scribe import Scribe
from client.console.streams import Stream
from client.console.tee import Tee
from client.console.transcript import Transcript
from client.limits import ABSENT_TIMEOUT_S, CONSOLE_STOP_S
from client.protocol.messages import Hello
from client.protocol.records import End, Output
from client.session import Session
from client.version import VERSION


def main(arguments: list[str]) -> None:
    """Run the helper."""
    launch, parent, control, *parts = arguments
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # what ends the parent must not end its last words
    streams = [_stream(part) for part in parts]
    session = _open(launch)
    scribe = Scribe(session.record if session is not None else _nowhere)
    transcript = Transcript(scribe.write, "console")
    tees = [Tee(stream, transcript, "console", stay=True) for stream in streams]
    for tee in tees:
        tee.start()
    with socket.socket(fileno=int(control)) as channel:
        _say(channel, READY)
        _await_end(channel, int(parent))
        for tee in tees:
            tee.finish()
        scribe.close()
        if session is not None:
            session.record(End(time.time_ns(), None))
            session.close(CONSOLE_STOP_S if session.wait_connected(ABSENT_TIMEOUT_S) else 0.0)
        _say(channel, RECORDED)
    for tee in tees:
        tee.join()


def _say(channel: socket.socket, word: bytes) -> None:
    try:
        channel.send(word)
    except OSError:
        pass  # the parent is gone


def _stream(part: str) -> Stream:
    name, outer, shown = part.split(":")
    return Stream(name, int(shown), int(outer), -1, is_terminal=os.isatty(int(shown)))


def _open(launch: str) -> Session | None:
    hello = Hello(
        session=os.urandom(16).hex(),
        role="console",
        launch=launch,
        pid=os.getpid(),
        host=socket.gethostname(),
        start_time_ns=time.time_ns(),
        client_version=VERSION,
    )
    try:
        return Session.open(hello, endpoint=places.endpoint(), spool_dir=places.spool_dir())
    except Exception as error:  # noqa: BLE001 - the streams are shown all the same
        guard.swallow("console.session", error)
        return None


def _nowhere(record: Output) -> None:
    """Without a session."""


def _await_end(channel: socket.socket, parent: int) -> None:
    """Until the parent says so or has ended. A child that it forked may hold its side open: so its end is looked at."""
    poll = select.poll()
    poll.register(channel, select.POLLIN | select.POLLHUP)
    process: int | None = None
    try:
        process = os.pidfd_open(parent)
        poll.register(process, select.POLLIN)
    except (AttributeError, OSError):  # an old kernel; or it has ended already, which the channel tells
        pass
    if os.getppid() == parent or process is None:
        poll.poll()
    if process is not None:
        os.close(process)


if __name__ == "__main__":
    main(sys.argv[1:])
