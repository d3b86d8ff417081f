"""Where a media value's content comes from: out of what came with it, never out of a path that a client names.

wandb's classes take a str for a file's path, and put that file into the run. A client sends files as their bytes (the
kind "file"), so a str in that place is the address of a reference, or somebody who would have a file of this machine.
"""

from __future__ import annotations

import os
import re
from typing import Any

from client.protocol.records import Media
from telemetryd.runs.media.builder import MediaBuilder
from telemetryd.runs.media.errors import REFUSED, MediaLostError

_REFERENCE = re.compile(r"(gs|s3|https?)://")
"""What wandb notes as an address, without a look at it."""


def arguments(args: dict[str, Any], builder: MediaBuilder, source: str = "data_or_path") -> dict[str, Any]:
    """Arguments with everything in them constructed. Raises MediaLostError where `source` is a client's path."""
    made = builder.arguments(args)
    check(args.get(source), made.get(source))
    return made


def check(sent: Any, made: Any) -> None:
    """`made` of what was `sent` is content, a reference, or a file of the builder's. Raises MediaLostError."""
    if not isinstance(made, (str, os.PathLike)) or (isinstance(sent, Media) and sent.kind == "file"):
        return
    if isinstance(made, str) and _REFERENCE.match(made):
        return
    raise MediaLostError(REFUSED, "a path in place of a file's content: files of this machine are not read for clients")
