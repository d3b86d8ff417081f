"""`telemetryd top`: what the daemon at the endpoint is doing, live, in a terminal.

    asker (a thread)  asks the daemon once a period; may wait for one that is stopped      ┐ a pipe wakes the main
    main thread       keys, signals and the screen: what is shown is the newest answer     ┘ thread for each

The terminal is given back as it was, however this ends: q, ^C, SIGTERM, SIGHUP, an error. ^Z stops it as any program.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from telemetryd.bell import ringing
from telemetryd.cli import asking, exit_codes, options
from telemetryd.cli.asking import NoAnswerError
from telemetryd.cli.limits import STATUS_TIMEOUT_S, TOP_PIPE_COLUMNS
from telemetryd.cli.top_page import TRAFFIC, Seen, frame, host_values
from telemetryd.settings import DaemonSettings

_QUIT_KEYS = frozenset(b"qQ\x1b\x04")
_SEQUENCE = re.compile(rb"\x1b[\[O][0-?]*[ -/]*[@-~]")
"""What an arrow or a function key sends: it begins with escape and is none."""
_QUIT_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(arguments: argparse.Namespace) -> int:
    """0; 3 with --once when no daemon answers. Raises SettingsError or MissingExtraError."""
    settings = options.loaded(arguments).settings
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(highlight=False, width=TOP_PIPE_COLUMNS)
    if arguments.once or not (sys.stdin.isatty() and console.is_terminal):
        return _once(settings, console)
    return _Screen(settings, console, arguments.interval).show()


def _ask(settings: DaemonSettings) -> dict[str, Any]:
    """Raises NoAnswerError."""
    return asking.ask(settings.endpoint, "status", STATUS_TIMEOUT_S, processes=False)


def _once(settings: DaemonSettings, console: Console) -> int:
    try:
        answer = _ask(settings)
    except NoAnswerError as error:
        console.print(_absent(settings, str(error)))
        return exit_codes.NO_DAEMON
    console.print(frame(Seen(answer, time.monotonic()), None, 0, console.width, time.time()))
    return exit_codes.OK


def _absent(settings: DaemonSettings, why: str) -> RenderableType:
    return Group(
        Text.from_markup(f"[bold yellow]○[/] [bold]no daemon answers[/] at {escape(settings.endpoint)}"),
        Text.from_markup(f"  [dim]{escape(why)}[/]"),
        Text.from_markup("  start one with `telemetryd serve`; `telemetryd status` shows what waits on disk"),
    )


class _Asker:
    """Asks again and again on a thread of its own, and writes a byte to `wake_fd` when there is news."""

    def __init__(self, settings: DaemonSettings, interval_s: float, wake_fd: int) -> None:
        self.now: Seen | None = None
        self.before: Seen | None = None
        self.renewed: list[Seen] = []
        """The last two answers with new sums of the host."""
        self.trouble: str | None = None
        self._settings = settings
        self._interval_s = interval_s
        self._wake_fd = wake_fd
        self._end = threading.Event()
        threading.Thread(target=self._main, name="asker", daemon=True).start()

    def close(self) -> None:
        """Ask no more. A question that is on its way is not waited for."""
        self._end.set()

    def _main(self) -> None:
        while not self._end.is_set():
            try:
                answer = _ask(self._settings)
            except NoAnswerError as error:
                self.trouble = str(error)
            else:
                self.before, self.now, self.trouble = self.now, Seen(answer, time.monotonic()), None
                if not self.renewed or _traffic(self.renewed[-1].answer) != _traffic(answer):
                    self.renewed = [*self.renewed[-1:], self.now]
            if self._end.is_set():
                return
            os.write(self._wake_fd, b"\0")
            self._end.wait(self._interval_s)


def _traffic(answer: dict[str, Any]) -> tuple[float | None, ...]:
    values = host_values(answer)
    return tuple(values.get(name) for name in TRAFFIC)


class _Screen:
    """The terminal while it is ours."""

    def __init__(self, settings: DaemonSettings, console: Console, interval_s: float) -> None:
        self._settings = settings
        self._console = console
        self._interval_s = interval_s
        self._signals: set[int] = set()

    def show(self) -> int:
        """Until somebody wants to leave."""
        wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        asker = _Asker(self._settings, self._interval_s, wake_write)
        try:
            with self._heeded(wake_write):
                while self._watch(asker, wake_read):
                    self._stop_as_asked()
        finally:
            asker.close()
        return exit_codes.OK  # the pipe is left to the asker, which may still write to it

    def _watch(self, asker: _Asker, wake_fd: int) -> bool:
        """Show and heed keys; False when it is over, True when ^Z was pressed."""
        with (
            self._taken(),
            Live(
                console=self._console,
                screen=True,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            ) as live,
        ):
            while True:
                live.update(self._page(asker), refresh=True)
                ready, _, _ = select.select([sys.stdin, wake_fd], [], [])
                if wake_fd in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake_fd, 4096)
                if sys.stdin in ready:
                    keys = os.read(sys.stdin.fileno(), 64)
                    if not keys or _QUIT_KEYS & set(_SEQUENCE.sub(b"", keys)):
                        return False
                if self._signals & set(_QUIT_SIGNALS):
                    return False
                if signal.SIGTSTP in self._signals:
                    return True

    def _page(self, asker: _Asker) -> RenderableType:
        columns, rows = self._console.size
        if asker.trouble is not None:
            return Group(_absent(self._settings, asker.trouble), "", _footer(self._interval_s))
        if asker.now is None:
            return Text("asking …")
        page = frame(asker.now, asker.before, max(4, rows - 2), columns, time.time(), asker.renewed)
        return Group(page, "", _footer(self._interval_s))

    @contextlib.contextmanager
    def _taken(self) -> Iterator[None]:
        """Keys come one by one and are not shown, until the end of the block."""
        before = termios.tcgetattr(sys.stdin)
        try:
            tty.setcbreak(sys.stdin)
            yield
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, before)

    def _heeded(self, wake_fd: int) -> contextlib.AbstractContextManager[None]:
        """Signals do no more than wake the main thread, SIGWINCH to draw in the new size."""

        def came(signum: int, frame: object) -> None:
            self._signals.add(signum)

        return ringing(wake_fd, dict.fromkeys((*_QUIT_SIGNALS, signal.SIGTSTP, signal.SIGWINCH), came))

    def _stop_as_asked(self) -> None:
        """Stop with the terminal as it was, and come back when told to go on."""
        os.kill(os.getpid(), signal.SIGSTOP)  # SIGTSTP again would not stop what has no shell to be continued by
        self._signals.clear()


def _footer(interval_s: float) -> Text:
    return Text.from_markup(f"[dim]q leaves · every {interval_s:g} s[/]", end="")
