"""wandb's methods of Run that telemetryd does not have yet: each says so, and what to use meanwhile."""

from __future__ import annotations

from typing import Any, NoReturn

from client.errors import UnsupportedError

FILES = "write the file yourself and keep its path with `run.summary['file'] = path`"
MODELS = "read parameters and gradients in your loop and log numbers of them"
INSTEAD = {
    "alert": "print the message: what the job prints stands in the run's logs",
    "finish_artifact": FILES,
    "link_artifact": FILES,
    "link_model": FILES,
    "log_artifact": FILES,
    "log_code": FILES,
    "log_model": FILES,
    "mark_preempting": "start the job again with the same id= and resume='allow'",
    "pin_config_keys": "pin them in the W&B app",
    "restore": FILES,
    "save": FILES,
    "status": "call `telemetryd status`, or run.flush()",
    "unwatch": MODELS,
    "upsert_artifact": FILES,
    "use_artifact": FILES,
    "use_model": FILES,
    "watch": MODELS,
}


def unsupported(name: str) -> UnsupportedError:
    """The error of a method that is not there yet."""
    return UnsupportedError(f"run.{name}() is not supported by telemetryd yet: {INSTEAD[name]}")


class NotYet:
    """The methods; each raises UnsupportedError."""

    def alert(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("alert")

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

    def mark_preempting(self) -> NoReturn:
        """Not supported yet."""
        raise unsupported("mark_preempting")

    def pin_config_keys(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("pin_config_keys")

    def restore(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("restore")

    def save(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("save")

    def status(self) -> NoReturn:
        """Not supported yet."""
        raise unsupported("status")

    def unwatch(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("unwatch")

    def upsert_artifact(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("upsert_artifact")

    def use_artifact(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("use_artifact")

    def use_model(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("use_model")

    def watch(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise unsupported("watch")
