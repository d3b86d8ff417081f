"""Takes everything that is written to descriptors 1 and 2, by Python, C code and child processes.

    training ──1,2──► pipe, or pseudo-terminal ──► helper process ──► where 1 and 2 led before
                                                        └──► a session of its own, to the same run

The reader is a process, not a thread: a thread needs the interpreter, and a thread of the caller's that holds it while
it writes (C code does) would wait for ever at a full pipe. It outlives the caller, so the last words of one that
is killed, a crash's traceback among them, are shown and recorded.

Invariants
* While the helper lives it reads; when it dies, a thread here shows what is in the pipe and leads 1 and 2 back.
* A forked child writes into the same pipe, and holds nothing else of this.
* One redirection a process: the descriptors are the process's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path

from client import guard
from client.console.streams import Stream
from client.limits import CONSOLE_STOP_S, OUTPUT_BATCH_BYTES, REDIRECT_CATCH_UP_BYTES, REDIRECT_START_S

_START = """import sys
sys.path += sys.argv.pop(1).split(':')
from client.console.helper import main
main(sys.argv[1:])"""
READY, RECORDED = b"r", b"d"
"""What the helper says on its control socket, each once."""

_NEEDED = ("client", "zmq", "msgspec")

_active: Redirect | None = None
_lock = threading.Lock()


class Redirect:
    """The redirection of this process; `start` it and `stop` it."""

    def __init__(
        self, streams: list[Stream], saved: dict[int, int], control: socket.socket, helper: subprocess.Popen[bytes]
    ) -> None:
        self._streams = streams
        self._saved = saved
        self._control = control
        self._helper = helper
        self._ended = threading.Event()
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="telemetryd-console", daemon=True)

    @classmethod
    def start(cls, launch: str, names: list[str]) -> Redirect | None:
        """Lead these of "stdout" and "stderr" through a helper; None where that cannot be, or is done already."""
        global _active
        with _lock:
            if _active is not None or not names or not sys.executable:
                return None
            try:
                _active = cls._open(launch, names)
            except (OSError, RuntimeError) as error:
                guard.swallow("console.redirect", error)
            return _active

    @classmethod
    def _open(cls, launch: str, names: list[str]) -> Redirect:
        descriptors = [{"stdout": 1, "stderr": 2}[name] for name in names]
        with contextlib.ExitStack() as undo:
            saved = {}
            for descriptor in descriptors:
                saved[descriptor] = os.dup(descriptor)
                undo.callback(os.close, saved[descriptor])
            streams = []
            for descriptor in descriptors:
                stream = Stream.open(descriptor)
                undo.callback(os.close, stream.outer)
                undo.callback(stream.close_inner)
                streams.append(stream)
            control, theirs = socket.socketpair()
            undo.callback(control.close)
            with theirs:
                helper = _spawn(launch, streams, saved, theirs)
            redirect = cls(streams, saved, control, helper)
            control.settimeout(REDIRECT_START_S)
            if control.recv(1) != READY:
                raise ChildProcessError("the helper did not start")
            control.settimeout(None)
            redirect._watcher.start()
            flush_all()
            for stream in streams:
                os.dup2(stream.inner, stream.shown)
                stream.close_inner()
            undo.pop_all()
            return redirect

    def stop(self) -> None:
        """Lead the descriptors back, and wait briefly until what was written is recorded."""
        global _active
        flush_all()
        with _lock:
            if _active is self:
                _active = None
            self._stopped.set()
            self._lead_back()
        try:
            self._control.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the helper is gone
        self._ended.wait(CONSOLE_STOP_S)

    def _lead_back(self) -> None:
        for descriptor, saved in self._saved.items():
            try:
                os.dup2(saved, descriptor)
            except OSError as error:
                guard.swallow("console.redirect", error)

    def _watch(self) -> None:
        """Until the helper has recorded everything, or has died: then its part is done here, as far as showing goes."""
        try:
            said = self._control.recv(1)
            if not said:
                if not self._stopped.is_set():
                    guard.swallow("console.helper", ChildProcessError("it has died: output is shown and not recorded"))
                    for stream in self._streams:
                        _show_what_is_there(stream.outer, self._saved[stream.shown])
                    self._lead_back()
                self._show_rest()
            self._ended.set()
            self._helper.wait()
        except OSError as error:
            guard.swallow("console.watch", error)
        finally:
            self._ended.set()
            self._close()

    def _show_rest(self) -> None:
        """Of a helper that died: children still write into its pipes."""
        readers = [
            threading.Thread(target=_pump, args=(stream.outer, self._saved[stream.shown]), daemon=True)
            for stream in self._streams
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()

    def _close(self) -> None:
        with _lock:
            for descriptor in (*self._saved.values(), *(stream.outer for stream in self._streams)):
                with contextlib.suppress(OSError):
                    os.close(descriptor)
            self._saved, self._streams = {}, []
            self._control.close()

    def _forget(self) -> None:
        """In a forked child: the copies would keep the helper from seeing its parent's end."""
        self._ended.set()
        self._close()


def _spawn(
    launch: str, streams: list[Stream], saved: dict[int, int], control: socket.socket
) -> subprocess.Popen[bytes]:
    places = [str(Path(str(sys.modules[name].__file__)).parents[1]) for name in _NEEDED if name in sys.modules]
    parts = [f"{stream.name}:{stream.outer}:{saved[stream.shown]}" for stream in streams]
    descriptors = [control.fileno(), *saved.values(), *(stream.outer for stream in streams)]
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            _START,
            ":".join(dict.fromkeys(places)),
            launch,
            str(os.getpid()),
            str(control.fileno()),
            *parts,
        ],
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


def flush_all() -> None:
    """Out of Python's and C's buffers, so that what was printed before is on its own side."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # none, or closed: there is nothing to flush
    try:
        ctypes.CDLL(None).fflush(None)
    except (OSError, AttributeError) as error:
        guard.swallow("console.flush", error)


def _show_what_is_there(source: int, to: int) -> None:
    """What was written so far comes before what is written once the descriptor leads back, give or take that moment."""
    left = REDIRECT_CATCH_UP_BYTES
    while left > 0 and select.select([source], [], [], 0)[0]:
        try:
            data = os.read(source, OUTPUT_BATCH_BYTES)
            os.write(to, data)
        except OSError:
            return
        if not data:
            return
        left -= len(data)


def _pump(source: int, to: int) -> None:
    try:
        while data := os.read(source, OUTPUT_BATCH_BYTES):
            os.write(to, data)
    except OSError:
        return  # EIO: a pseudo-terminal's end; or nobody looks any more


def _forget_in_child() -> None:
    global _active, _lock
    _lock = threading.Lock()
    redirect, _active = _active, None
    if redirect is not None:
        redirect._forget()


os.register_at_fork(after_in_child=_forget_in_child)
