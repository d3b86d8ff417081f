"""`Video`: frames, a video file or its bytes."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any, Literal

from client import tensors
from client.media import arrays, files
from client.media.base import BatchableMedia, Part
from client.payload import Payload

log = logging.getLogger("telemetryd.client")


class Video(BatchableMedia):
    """A video, from a path, a BytesIO, or frames (time, channels, height, width) or (batch, time, …) in 0..255.

    Frames are copied, files read, here; the daemon encodes frames as `format`, with `fps` frames a second (4).

    Raises ValueError for an unknown or missing format, fewer than four dimensions or anything else as data; OSError for
    a file that cannot be read.
    """

    _log_type = "video-file"
    EXTS = ("gif", "mp4", "webm", "ogg")

    def __init__(
        self,
        data_or_path: Any,
        caption: str | None = None,
        fps: int | None = None,
        format: Literal["gif", "mp4", "webm", "ogg"] | None = None,
    ) -> None:
        self._args: dict[str, Any] = {"caption": caption}
        if isinstance(data_or_path, (io.BytesIO, str)) and fps:
            log.warning("`fps` does not affect the frame rate of a video that is given as a file path or raw bytes")
        if isinstance(data_or_path, io.BytesIO):
            self._args["format"] = self._require_format(format, "raw bytes (an io object)")
            self._args["data_or_path"] = Part("stream", data=Payload.of(data_or_path.read()))
        elif isinstance(data_or_path, (str, Path)):
            if Path(data_or_path).suffix[1:].lower() not in self.EXTS:
                raise ValueError(f"wandb.Video accepts {', '.join(self.EXTS)} formats")
            self._args["data_or_path"] = files.capture(data_or_path)
        else:
            self._args["format"] = self._require_format(format, "a numpy array")
            self._args["fps"] = fps
            self._args["data_or_path"] = _frames(data_or_path)

    @classmethod
    def _require_format(cls, format: str | None, source: str) -> str:
        if format is None:
            raise ValueError(f"wandb.Video requires a `format` argument when initializing with {source}.")
        if format not in cls.EXTS:
            raise ValueError(f"wandb.Video accepts {', '.join(cls.EXTS)} formats")
        return format

    def _wire(self) -> tuple[str, dict[str, Any]]:
        return "Video", self._args


def _frames(data: Any) -> Part:
    if not tensors.is_torch(data) and hasattr(data, "numpy"):
        data = data.numpy()
    if not tensors.is_array(data):
        raise ValueError("wandb.Video accepts a file path or numpy like data as input")
    if data.ndim < 4:
        raise ValueError("Video must be at least 4 dimensions: time, channels, height, width")
    if data.ndim > 5:
        raise ValueError(f"too many values to unpack (expected 5): a video has at most 5 dimensions, not {data.ndim}")
    return arrays.capture(data)
