"""wandb's methods of Run that telemetryd does not have yet: each says so, and what to use meanwhile."""

from __future__ import annotations

from typing import Any, NoReturn

from client.errors import UnsupportedError

FILES = "write the file yourself and keep its path with `run.summary['file'] = path`"
INSTEAD = {
    "log_code": FILES,
    "restore": FILES,
}


def unsupported(name: str) -> UnsupportedError:
    """The error of a method that is not there yet."""
    return UnsupportedError(f"run.{name}() is not supported by telemetryd yet: {INSTEAD[name]}")


class NotYet:
    """The methods; each raises UnsupportedError."""

    def log_code(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("log_code")

    def restore(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("restore")
