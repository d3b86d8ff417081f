"""`run.summary`: reads from the local mirror, writes to the mirror and to the run."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from client.protocol.records import Array, Media, decode_ext
from client.summary_mirror import media_shown
from client.tensors import statistics
from client.values import encode_row_data, summary_value_by

Path = tuple[str, ...]

_decode = msgspec.msgpack.Decoder(ext_hook=decode_ext).decode
_encode = msgspec.msgpack.Encoder().encode


class MissingKeyError(KeyError, AttributeError):
    """No such key. A KeyError as in wandb, and an AttributeError, so that `hasattr` works."""


class SummaryStore:
    """What a Summary needs of its run. `read` and `write` raise UsageError after finish."""

    def __init__(
        self,
        read: Callable[[], dict[str, Any]],
        write: Callable[..., None],
        encode: Callable[[Any], bytes] = encode_row_data,
    ) -> None:
        self.read = read
        self.write = write
        self.encode = encode


class Summary:
    """Single values of the run: the last ones logged, and those set here. As in wandb.

    `run.summary["best"] = 0.9`, `run.summary.best`, `update({...})`, `get(key, default)`, `keys()`, `del`. A nested
    dict reads back as a Summary of its own, and setting its keys sets them in the run.
    """

    def __init__(self, store: SummaryStore, path: Path = ()) -> None:
        object.__setattr__(self, "_store", store)
        object.__setattr__(self, "_path", path)

    def _as_dict(self) -> dict[str, Any]:
        tree: Any = self._store.read()
        for key in self._path:
            tree = tree.get(key) if isinstance(tree, dict) else None
        return tree if isinstance(tree, dict) else {}

    def keys(self) -> list[str]:
        """The keys at this level."""
        return [key for key in self._as_dict() if key != "_wandb"]

    def items(self) -> list[tuple[str, Any]]:
        """Pairs of key and value."""
        return [(key, self[key]) for key in self.keys()]

    def values(self) -> list[Any]:
        """The values, in the order of `keys`."""
        return [self[key] for key in self.keys()]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or the default; a nested dict comes as a plain dict."""
        return self._as_dict().get(key, default)

    def update(self, d: Mapping[str, Any]) -> None:
        """Set several keys. Raises TypeError for a value that wandb cannot store, and for a key that is no str."""
        if not isinstance(d, Mapping):
            raise TypeError(f"summary.update takes a dict, not {type(d).__name__}")
        for key in d:
            if not isinstance(key, str):
                raise TypeError(f"summary keys must be str, not {type(key).__name__}: use str({key!r})")
        changes = [([*self._path, key], summary_value_by(value, self._store.encode)) for key, value in d.items()]
        self._store.write(changes, [])

    def __getitem__(self, key: str) -> Any:
        try:
            value = self._as_dict()[key]
        except KeyError:
            raise MissingKeyError(key) from None
        return Summary(self._store, (*self._path, key)) if isinstance(value, dict) else value

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        return self[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    __setattr__ = __setitem__

    def __delitem__(self, key: str) -> None:
        self._store.write([], [[*self._path, key]])

    __delattr__ = __delitem__

    def __contains__(self, key: object) -> bool:
        return key in self._as_dict()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __repr__(self) -> str:
        return repr(self._as_dict())


def as_shown(value: Any) -> Any:
    """A value for the wire as it reads back once W&B has it."""
    return as_read(_decode(_encode(value)))


def as_read(value: Any) -> Any:
    """A value of a Summary record as it reads back: as JSON, NaN as None where wandb stores it so."""
    return _as_json(value, nan=None)


def _as_json(value: Any, nan: float | None) -> Any:
    if isinstance(value, dict):
        return {str(key): _as_json(item, nan) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item, math.nan) for item in value]
    if isinstance(value, Array):
        return statistics(value)
    if isinstance(value, Media):
        return media_shown(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return nan if isinstance(value, float) and value != value else value
