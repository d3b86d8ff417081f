"""Sees what Python code writes to sys.stdout and sys.stderr, as wandb does: their `write` is wrapped.

Invariants
* The stream's own `write` runs first; its result or exception is the caller's, whatever becomes of the text here.
* The wrapper stays on a stream while somebody listens, and goes with the last listener unless another wrapped it since.
* A forked child has no listeners: what it prints is not in the run, as in wandb.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from client import guard

Listener = Callable[[str, str], None]
"""Takes (stream, text)."""

_lock = threading.RLock()
_listeners: dict[str, tuple[Listener, ...]] = {"stdout": (), "stderr": ()}
_wrapped: dict[str, tuple[Any, Any]] = {}
"""The stream object that carries our wrapper, and the wrapper, by name."""


def listen(name: str, listener: Listener) -> bool:
    """Call `listener` with what is written to sys.stdout or sys.stderr from now on; False where that cannot be."""
    with _lock:
        stream = getattr(sys, name)
        if stream is None:
            return False
        if _wrapped.get(name, (None, None))[0] is not stream:
            try:
                wrapper = _wrapper(name, stream.write)
                stream.write = wrapper
            except (AttributeError, TypeError):  # an object that takes no attributes
                return False
            _wrapped[name] = stream, wrapper
        _listeners[name] = (*_listeners[name], listener)
        return True


def leave(name: str, listener: Listener) -> None:
    """Call it no more."""
    with _lock:
        _listeners[name] = tuple(other for other in _listeners[name] if other != listener)
        if not _listeners[name] and name in _wrapped:
            stream, wrapper = _wrapped[name]
            if vars(stream).get("write") is wrapper:
                del stream.write
                del _wrapped[name]


def _wrapper(name: str, write: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def write_and_tell(text: Any, /) -> Any:
        written = write(text)
        for listener in _listeners[name]:
            try:
                listener(name, text if isinstance(text, str) else bytes(text).decode(errors="replace"))
            except Exception as error:  # noqa: BLE001 - whatever it was, a print must not notice
                guard.swallow("console.wrap", error)
        return written

    return write_and_tell


def _forget_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    for name in _listeners:
        _listeners[name] = ()


os.register_at_fork(after_in_child=_forget_in_child)
