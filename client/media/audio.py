"""`Audio`: samples or a sound file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from client import tensors
from client.media import arrays, files
from client.media.base import BatchableMedia


class Audio(BatchableMedia):
    """A sound, from a path or from samples (frames[, channels]) with their `sample_rate` in Hz.

    Samples are copied, a file is read, here; the daemon writes the WAV.

    Raises ValueError for samples without a rate, OSError for a file that cannot be read.
    """

    _log_type = "audio-file"

    def __init__(self, data_or_path: Any, sample_rate: int | None = None, caption: str | None = None) -> None:
        self._args: dict[str, Any] = {"sample_rate": sample_rate, "caption": caption}
        if isinstance(data_or_path, (str, Path)):
            path = str(data_or_path)
            self._args["data_or_path"] = path if files.is_reference(path) else files.capture(path)
            return
        if sample_rate is None:
            raise ValueError('Argument "sample_rate" is required when instantiating wandb.Audio with raw data.')
        is_array = tensors.is_array(data_or_path)
        self._args["data_or_path"] = arrays.capture(data_or_path) if is_array else _copied(data_or_path)

    def _check_run(self) -> None:
        if isinstance(self._args["data_or_path"], str):
            text = "Audio media created by a reference to external storage cannot currently be added to a run"
            raise ValueError(text)  # noqa: TRY004 - as wandb

    def _wire(self) -> tuple[str, dict[str, Any]]:
        return "Audio", self._args


def _copied(samples: Any) -> list[Any]:
    return [_copied(frame) if isinstance(frame, (list, tuple)) else frame for frame in samples]
