"""`Html`: a page, as text or from a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from client.media import files
from client.media.base import BatchableMedia, Part
from client.payload import Payload


class Html(BatchableMedia):
    """A page: literal HTML, an object with `read`, or the path of a file that ends in .html.

    `inject` adds W&B's stylesheet. `data_is_not_path` takes a str as HTML whatever file there is. Read and copied here.

    Raises ValueError for anything else, OSError for a file that cannot be read.
    """

    _log_type = "html-file"

    def __init__(self, data: Any, inject: bool = True, data_is_not_path: bool = False) -> None:
        self._args: dict[str, Any] = {"inject": inject}
        is_path = (
            not data_is_not_path
            and isinstance(data, (str, Path))
            and os.path.splitext(data)[1] == ".html"  # noqa: PTH122 - it may be a page of any length
            and os.path.isfile(data)  # noqa: PTH113 - as above
        )
        if is_path:
            self._args["data"] = files.capture(data)
            return
        if isinstance(data, str):
            text = data
        elif hasattr(data, "read"):
            if hasattr(data, "seek"):
                data.seek(0)
            text = data.read()
        else:
            raise ValueError("data must be a string or an io object")
        self._args["data"] = Part("text", data=Payload.of(text.encode("utf-8", "surrogatepass")))

    def _wire(self) -> tuple[str, dict[str, Any]]:
        return "Html", self._args
