"""Sounds and videos."""

from __future__ import annotations

import io
from typing import Any

from telemetryd.runs.media import sources
from telemetryd.runs.media.builder import MediaBuilder
from telemetryd.runs.media.door import data_types


def audio(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.Audio."""
    return data_types().Audio(**sources.arguments(args, builder))


def video(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.Video."""
    return data_types().Video(**sources.arguments(args, builder))


def stream(args: dict[str, Any], builder: MediaBuilder) -> io.BytesIO:
    """Bytes as an open file."""
    return io.BytesIO(builder.build(args["data"]))
