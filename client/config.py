"""`run.config`: the run's inputs, mirrored here, so that reading them never waits. As in wandb.

A value that is set already may not change, unless `update(..., allow_val_change=True)`: a config says what a run began
with. In a notebook changes are allowed, as in wandb.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, KeysView
from pathlib import Path
from typing import Any

import msgspec

from client.errors import ConfigError, UsageError
from client.preinit import PreInitObject
from client.term import termwarn
from client.values import config_value

DEFAULTS_FILE = "config-defaults.yaml"


class Config:
    """Keys and values of a run's configuration; `config.lr`, `config["lr"]`, `update`, `setdefaults`, `get`, `in`."""

    def __init__(self, on_change: Callable[[dict[str, Any]], None] | None = None) -> None:
        object.__setattr__(self, "_items", {})
        object.__setattr__(self, "_locked", {})
        object.__setattr__(self, "_on_change", on_change)

    def keys(self) -> list[str]:
        """The keys; those with a leading underscore are wandb's own and are left out."""
        return [key for key in self._items if not key.startswith("_")]

    def items(self) -> list[tuple[str, Any]]:
        """Pairs of key and value."""
        return [(key, self._items[key]) for key in self.keys()]

    def values(self) -> list[Any]:
        """The values, in the order of `keys`."""
        return [self._items[key] for key in self.keys()]

    def as_dict(self) -> dict[str, Any]:
        """A plain dict of it."""
        return dict(self.items())

    def get(self, *args: Any) -> Any:
        """`get(key)`, `get(key, default)`."""
        return self._items.get(*args)

    def update(self, d: Any, allow_val_change: bool | None = None) -> None:
        """Set several keys from a dict, a namespace (argparse), absl flags, another Config, or a YAML file's path.

        Raises ConfigError when a value would change and `allow_val_change` is not true.
        """
        self._take(self._checked(self._unlocked(parse_config(d)), allow_val_change))

    def update_locked(self, d: dict[str, Any], user: str | None = None, _allow_val_change: bool | None = None) -> None:
        """Set keys and lock them: later changes by others are ignored with a warning that names `user`."""
        taken = self._checked(d, _allow_val_change)
        self._locked.update(dict.fromkeys(taken, user))
        self._take(taken)

    def merge_locked(self, d: dict[str, Any], user: str | None = None, _allow_val_change: bool | None = None) -> None:
        """As `update_locked`, with nested dicts merged into those that are there."""
        taken = self._checked(d, _allow_val_change)
        self._locked.update(dict.fromkeys(taken, user))
        self._take({key: _merged(self._items.get(key), value) for key, value in taken.items()})

    def _unlocked(self, given: dict[str, Any]) -> dict[str, Any]:
        if not self._locked:
            return given
        for key in given.keys() & self._locked.keys():
            termwarn(f"Config item '{key}' was locked by '{self._locked[key]}' (ignored update).")
        return {key: value for key, value in given.items() if key not in self._locked}

    def setdefaults(self, d: Any) -> None:
        """Set those keys of `d` that are not set yet."""
        self._take(self._checked({key: value for key, value in parse_config(d).items() if key not in self._items}))

    def persist(self) -> None:
        """Send the whole config again: after changing a nested dict or a list in place."""
        self._take(self._checked(dict(self._items), allow_val_change=True))

    def _checked(self, given: dict[str, Any], allow_val_change: bool | None = None) -> dict[str, Any]:
        if allow_val_change is None:
            allow_val_change = in_notebook()
        taken: dict[str, Any] = {}
        for key, value in given.items():
            if not isinstance(key, str):
                raise TypeError(f"config keys must be str, not {type(key).__name__}: use str({key!r})")
            key = key.strip("-")
            value = config_value(value)
            if not allow_val_change and key in self._items and self._items[key] != value:
                raise ConfigError(
                    f'Attempted to change value of key "{key}" from {self._items[key]} to {value}\n'
                    "If you really want to do this, pass allow_val_change=True to config.update()"
                )
            taken[key] = value
        return taken

    def _take(self, taken: dict[str, Any]) -> None:
        if self._on_change is not None:
            self._on_change(taken)  # first: it refuses what cannot be sent
        self._items.update(taken)

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if self._unlocked({key: value}):
            self._take(self._checked({key: value}))

    def __getattr__(self, key: str) -> Any:
        try:
            return self.__dict__["_items"][key]
        except KeyError:
            raise AttributeError(f"{self.__class__!r} object has no attribute {key!r}") from None

    __setattr__ = __setitem__

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __repr__(self) -> str:
        return str(self.as_dict())


class ConfigStatic:
    """`run.config_static`: a copy of the config that cannot be changed."""

    def __init__(self, config: Config) -> None:
        object.__setattr__(self, "__dict__", config.as_dict())

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("Error: run.config_static is a readonly object")

    __setitem__ = __setattr__

    def keys(self) -> KeysView[str]:
        """The keys."""
        return self.__dict__.keys()

    def __getitem__(self, key: str) -> Any:
        return self.__dict__[key]

    def __str__(self) -> str:
        return str(self.__dict__)


def _merged(into: Any, value: Any) -> Any:
    """wandb's recursive merge of nested dicts; nothing given is changed."""
    if not (isinstance(into, dict) and isinstance(value, dict)):
        return value
    return {**into, **{key: _merged(into.get(key), item) for key, item in value.items()}}


def parse_config(params: Any, exclude: list[str] | None = None, include: list[str] | None = None) -> dict[str, Any]:
    """A dict of what wandb takes for a config. Raises TypeError, UsageError, ConfigError as wandb."""
    if exclude and include:
        raise UsageError("Expected at most only one of exclude or include")
    if isinstance(params, str):
        params = read_config_file(Path(params))
    params = _to_dict(params)
    if include:
        return {key: value for key, value in params.items() if key in include}
    if exclude:
        return {key: value for key, value in params.items() if key not in exclude}
    return dict(params)


def _to_dict(params: Any) -> dict[str, Any]:
    if isinstance(params, dict):
        return params
    if isinstance(params, Config):
        return params.as_dict()
    if isinstance(params, PreInitObject):
        return {}
    module = inspect.getmodule(params)
    if module is not None and module.__name__ in ("absl.flags", "tensorflow.python.platform.flags"):
        params = params.FLAGS
        module = inspect.getmodule(params)
    if module is not None and module.__name__ == "absl.flags._flagvalues":
        return {name: params[name].value for name in dir(params)}
    if not hasattr(params, "__dict__"):
        raise TypeError(f"config must be a dict or have a __dict__ attribute; this is a {type(params).__name__}")
    return dict(vars(params))


def read_config_file(path: Path) -> dict[str, Any]:
    """wandb's config file: YAML or JSON, each key with its `value`. Raises ConfigError; YAML needs PyYAML.

    An empty file is an empty config, with a warning.
    """
    if not path.exists():
        raise ConfigError(f"config file {path} doesn't exist")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"Couldn't read config file: {path}: {error.strerror}") from error
    loaded = _loaded(path, content)
    if loaded is None:
        termwarn(f"Found an empty config file ({path}). Proceeding with no defaults.")
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"config file {path} must hold a mapping, as in `lr: {{value: 0.1}}`")
    if loaded.pop("wandb_version", 1) not in (1, None):
        raise ConfigError(f"Unknown config version in {path}; only wandb_version 1 is known")
    for key, entry in loaded.items():
        if not isinstance(entry, dict) or "value" not in entry:
            raise ConfigError(f"config file {path}: write `{key}: {{value: ...}}`, as wandb's config files do")
    return {str(key): entry["value"] for key, entry in loaded.items()}


def _loaded(path: Path, content: bytes) -> Any:
    if not content.strip():
        return None
    try:
        return msgspec.json.decode(content)  # JSON is YAML, and needs no PyYAML
    except msgspec.DecodeError:
        pass
    try:
        return msgspec.yaml.decode(content)
    except ImportError:
        raise ConfigError(
            f"reading {path} needs PyYAML: `pip install pyyaml`, write it as JSON, or pass a dict"
        ) from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"Invalid YAML in config file {path}: {error}") from error


def defaults() -> dict[str, Any]:
    """What `config-defaults.yaml` of the working directory says; wandb loads it into every run."""
    return config_of_files([DEFAULTS_FILE])


def config_of_files(paths: Iterable[str]) -> dict[str, Any]:
    """What these config files say, later ones over earlier ones; as in wandb, one that is not there says nothing."""
    config: dict[str, Any] = {}
    for path in map(Path, paths):
        if path.exists():
            config.update(read_config_file(path))
    return config


def in_notebook() -> bool:
    """Whether this is a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"
