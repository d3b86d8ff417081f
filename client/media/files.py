"""Files that a caller names by path: their content at the call, whatever becomes of them afterwards."""

from __future__ import annotations

import os
import re
from pathlib import Path

from client.media.base import Part
from client.payload import Payload

NAME_MAX_CHARS = 100
"""Of a file's name that much goes along, its end first: the daemon needs its extension, a person its name."""

_REFERENCE = re.compile(r"^(gs|s3|https?)://")


def is_reference(path: object) -> bool:
    """Whether it is the address of something in W&B's sense of a reference."""
    return isinstance(path, str) and bool(_REFERENCE.match(path))


def capture(path: str | os.PathLike[str]) -> Part:
    """A file as part of a media value: its name and a copy of its content. Raises OSError as `open` does."""
    return Part("file", name=Path(path).name[-NAME_MAX_CHARS:], data=content(path))


def content(path: str | os.PathLike[str]) -> Payload:
    """A copy of the file's content. Raises OSError as `open` does.

    The file is read here, on the caller's thread, into the place from which the sender ships it: as wandb does, which
    reads it for its checksum and copies it besides. A link instead of a copy would show what is written to it later.
    """
    with Path(path).open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size

        def fill(view: memoryview) -> None:
            done = 0
            while done < size:
                count = file.readinto(view[done:])
                if not count:  # it was cut while it was read
                    break
                done += count

        return Payload.filled(size, fill) if size else Payload.of(b"")
