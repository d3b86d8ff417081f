"""Arrays and tensors within media values: copied once, as they are; conversions are the daemon's."""

from __future__ import annotations

from typing import Any

from client import tensors
from client.media.base import Part
from client.payload import Payload


def capture(value: Any) -> Part:
    """A copy of an array's or tensor's numbers. Raises TypeError where its type has no numbers.

    A tensor on a device is copied to the host by `tensors.from_device`, which may wait for the device.
    """
    dtype, shape, size, fill = tensors.contents(value)
    return Part("array", dtype=dtype, shape=shape, data=Payload.filled(size, fill) if size else Payload.of(b""))
