"""What stands at `client.config`, `client.summary`, `client.log` … while no run is active: an error that says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from client.errors import Error


class PreInitObject:
    """Stands for an object that needs a run."""

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    def __getitem__(self, key: str) -> NoReturn:
        raise Error(f"You must call wandb.init() before {self._name}[{key!r}]")

    def __setitem__(self, key: str, value: Any) -> None:
        raise Error(f"You must call wandb.init() before {self._name}[{key!r}]")

    def __setattr__(self, key: str, value: Any) -> None:
        if key.startswith("_"):
            object.__setattr__(self, key, value)
            return
        raise Error(f"You must call wandb.init() before {self._name}.{key}")

    def __getattr__(self, key: str) -> NoReturn:
        if key.startswith("_"):
            raise AttributeError(key)
        raise Error(f"You must call wandb.init() before {self._name}.{key}")


def before_init(name: str, method: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Stands for a function that needs a run; shows the signature and the docstring of the run's method."""

    def not_yet(*args: Any, **kwargs: Any) -> NoReturn:
        raise Error(f"You must call wandb.init() before {name}()")

    not_yet.__name__ = name.rpartition(".")[2]
    if method is not None:
        not_yet.__wrapped__ = method  # type: ignore[attr-defined]
        not_yet.__doc__ = method.__doc__
    return not_yet
