"""Media objects and tables in an artifact: `add(obj, name)`, and the name that wandb gives them."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from client import rich
from client.artifacts import checks
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


_CLASSES = {
    "table": "Table",
    "image-file": "Image",
    "audio-file": "Audio",
    "video-file": "Video",
    "html-file": "Html",
    "object3D-file": "Object3D",
    "molecule-file": "Molecule",
}
"""The classes of `client` by what wandb calls the stored object."""


def loaded(artifact: Any, name: str) -> Any:
    """The media object or table that was added under `name`; None when there is none.

    Downloads the artifact. Raises MissingFeatureError for a kind that is not there yet, UnsupportedError for others.
    """
    paths = [f"{name}.{kind}.json" for kind in _CLASSES] + [name]
    found = next((path for path in paths if path.endswith(".json") and path in artifact.manifest.entries), None)
    if found is None:
        return None
    root = artifact.download()
    return _object(root, json.loads(Path(root, found).read_text(encoding="utf-8")))


def _object(root: str, stored: Any) -> Any:
    """What wandb's JSON stands for; values that are no objects stay as they are."""
    if not isinstance(stored, dict) or "_type" not in stored:
        return stored
    import client

    kind = str(stored["_type"])
    if kind not in _CLASSES:
        raise UnsupportedError(f"reading an object of type {kind!r} is not supported: download it and read the file")
    made = getattr(client, _CLASSES[kind])
    if kind == "table":
        rows = [[_object(root, value) for value in row] for row in stored["data"]]
        return made(columns=stored["columns"], data=rows)
    path = os.path.join(root, checks.path(str(stored["path"])))  # noqa: PTH118 - the media types take a str
    caption = stored.get("caption")
    return made(path) if caption is None else made(path, caption=caption)
