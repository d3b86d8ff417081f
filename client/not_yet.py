"""wandb's methods of Run that telemetryd does not have yet: each says so, and what to use meanwhile."""

from __future__ import annotations

from typing import Any, NoReturn

from client.errors import UnsupportedError

FILES = "write the file yourself and keep its path with `run.summary['file'] = path`"
INSTEAD = {
    "finish_artifact": FILES,
    "link_artifact": FILES,
    "link_model": FILES,
    "log_artifact": FILES,
    "log_code": FILES,
    "log_model": FILES,
    "restore": FILES,
    "upsert_artifact": FILES,
    "use_artifact": FILES,
    "use_model": FILES,
}


def unsupported(name: str) -> UnsupportedError:
    """The error of a method that is not there yet."""
    return UnsupportedError(f"run.{name}() is not supported by telemetryd yet: {INSTEAD[name]}")


class NotYet:
    """The methods; each raises UnsupportedError."""

    def finish_artifact(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("finish_artifact")

    def link_artifact(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("link_artifact")

    def link_model(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("link_model")

    def log_artifact(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("log_artifact")

    def log_code(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("log_code")

    def log_model(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("log_model")

    def restore(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("restore")

    def upsert_artifact(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("upsert_artifact")

    def use_artifact(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("use_artifact")

    def use_model(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("use_model")
