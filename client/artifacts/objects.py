"""Media objects and tables in an artifact: `add(obj, name)`, and the name that wandb gives them."""

from __future__ import annotations

import base64
from typing import Any

from client import rich
from client.errors import UnsupportedError
from client.media.base import WBValue
from client.payload import Payload


def hex_of(digest: str) -> str:
    """A base64 digest in hexadecimal."""
    return base64.b64decode(digest).hex()


class Value:
    """A media object or table in an artifact: how to construct it, and the bytes that this names.

    `blobs` are written beside the manifest, as the blobs 1, 2 … of `encoded`.
    """

    def __init__(self, obj: WBValue, name: str) -> None:
        self._obj = obj
        self.name = name
        self.encoded = b""
        self.blobs: list[Payload] = []

    def capture(self, first: int) -> None:
        """Fix what the object is now; its blobs are numbered from `first`. Raises what wandb's class would raise."""
        self.blobs = []

        def place(payload: Payload) -> int:
            self.blobs.append(payload)
            return first + len(self.blobs) - 1

        self.encoded = rich.encode([self._obj], place)[1:]  # a list of one: the head of it is one byte


def captured(obj: Any, name: str) -> tuple[str, Value]:
    """(the entry's path, the object's value). Raises TypeError for what is no media object."""
    if not isinstance(obj, WBValue):
        raise TypeError(
            f"Found object of type {type(obj)}, expected a media object or a table: add files with add_file() or"
            " new_file()"
        )
    kind = obj._log_type
    suffix = f"{kind}.json" if kind else ""
    return (name if not suffix or name.endswith(suffix) else f"{name}.{suffix}"), Value(obj, name)


def loaded(artifact: Any, name: str) -> Any:
    """The media object that was added under `name`; None when there is none. Raises UnsupportedError."""
    found = [path for path in artifact.manifest.entries if path.startswith(f"{name}.") and path.endswith(".json")]
    if not found:
        return None
    raise UnsupportedError(f"reading {found[0]!r} as an object is not supported yet: download it and read the file")
