"""How the interpreter ends: the exit code that W&B shows for runs which nobody finished.

As in wandb: an uncaught exception is 1, a KeyboardInterrupt 255, `sys.exit(n)` n, `sys.exit("text")` 1. `sys.exit` and
`sys.excepthook` are wrapped from the first `init` on; what stood there before still runs.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn


class ExitHooks:
    """Learns the exit code, and calls `at_exit` with it when the interpreter exits in the process that installed it."""

    def __init__(self) -> None:
        self.exit_code = 0
        self._pid: int | None = None

    def install(self, at_exit: Callable[[int], None]) -> None:
        """Wrap `sys.exit` and `sys.excepthook`, once per process."""
        if self._pid == os.getpid():
            return
        inherited = self._pid is not None  # a forked child that calls init: the wrappers are there already
        self._pid = os.getpid()
        self.exit_code = 0
        self._at_exit = at_exit
        if inherited:
            return
        self._exit = sys.exit
        self._excepthook = sys.excepthook
        sys.exit = self._on_exit
        sys.excepthook = self._on_exception
        atexit.register(self._run)

    def remove(self) -> None:
        """Put back what was there."""
        if self._pid is None:
            return
        if sys.exit == self._on_exit:
            sys.exit = self._exit
        if sys.excepthook == self._on_exception:
            sys.excepthook = self._excepthook
        atexit.unregister(self._run)
        self._pid = None

    def _run(self) -> None:
        if self._pid == os.getpid():
            self._at_exit(self.exit_code)

    def _on_exit(self, code: object = None) -> NoReturn:
        self.exit_code = 0 if code is None else code if isinstance(code, int) else 1
        self._exit(code)  # type: ignore[arg-type]

    def _on_exception(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self.exit_code = 255 if issubclass(kind, KeyboardInterrupt) else 1
        self._excepthook(kind, error, trace)


hooks = ExitHooks()
