"""The packages that the process can import, as wandb lists them in requirements.txt, in the same order.

Reads the first lines of each distribution's metadata: a few milliseconds for a hundred of them, nearly all of it in
system calls. `importlib.metadata` would parse each file whole, and hold the interpreter for a tenth of a second.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

_HEAD_BYTES = 4096
"""Name and version stand in the first lines; a description comes last."""


def requirements(paths: Iterable[str] | None = None) -> bytes:
    """The content of requirements.txt: `name==version` lines."""
    lines = [f"{name}=={version}\n" for name, version in packages(sys.path if paths is None else paths)]
    return "".join(lines).encode()


def packages(paths: Iterable[str]) -> list[tuple[str, str]]:
    """(name, version) of every distribution on the path."""
    found: list[tuple[str, str]] = []
    for path in paths:
        by_name: dict[str, list[str]] = {}
        try:
            names = os.listdir(path or ".")  # noqa: PTH208 - the order of importlib.metadata's own listing
        except OSError:
            continue
        for name in names:
            base, extension = os.path.splitext(name)  # noqa: PTH122 - as above
            if extension.lower() in (".dist-info", ".egg-info"):
                key = base.partition("-")[0].lower().replace("-", "_").replace(".", "_")
                by_name.setdefault(key, []).append(os.path.join(path or ".", name))  # noqa: PTH118 - as above
        for folders in by_name.values():
            found += [entry for entry in map(_read, folders) if entry is not None]
    return found


def _read(place: str) -> tuple[str, str] | None:
    for inner in ("METADATA", "PKG-INFO", None):
        try:
            with open(place if inner is None else f"{place}/{inner}", "rb", buffering=0) as stream:  # noqa: PTH123
                head = stream.read(_HEAD_BYTES)
        except OSError:
            continue
        fields: dict[str, str] = {}
        for line in head.decode("utf-8", errors="replace").splitlines():
            name, colon, value = line.partition(":")
            if not colon and not line:
                break  # the end of the headers
            fields.setdefault(name.lower(), value.strip())
        if fields.get("name") and fields.get("version"):
            return fields["name"], fields["version"]
    return None
