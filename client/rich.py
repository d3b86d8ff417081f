"""Encodes what has media values in it: each becomes its kind and arguments (ext 3), its bytes go ahead (ext 4).

The plain encoder (values.py) stops at the first such value, so that a row of numbers pays nothing for this.

Invariant: the bytes are in the journal before the record that names them, because `place` is called while that is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from client import tensors, values
from client.limits import INLINE_BYTES
from client.media import arrays, bare
from client.media.base import BatchableMedia, Part, WBValue
from client.payload import Payload
from client.protocol.records import EXT_BLOB, EXT_MEDIA

Place = Callable[[Payload], int]
"""Journals bytes and gives the id to name them by; 0 when they could not be kept."""

_Ext = msgspec.msgpack.Ext
_encode = msgspec.msgpack.encode
_pack = msgspec.msgpack.Encoder().encode


def encode(data: Any, place: Place) -> bytes:
    """`values.encode_row_data` for data with media values in it. Raises as that, and as `encode_and_tell`."""
    return encode_and_tell(data, place)[0]


def encode_and_tell(data: Any, place: Place, at: int | None = None) -> tuple[bytes, bool]:
    """As `encode`, and whether there was any value that the plain encoder does not take.

    `at` is the step that wandb names the media files by, where that is not the row's. Raises as `encode_row_data`, and
    as the media types do where wandb's raise only when they are logged.
    """
    _check_places(data)
    try:
        hook = _Hook(place, at)
        return hook.encode(data), hook.met
    except RecursionError:
        raise ValueError(
            "Circular reference detected: a logged dict or list contains itself, or is nested too deep"
        ) from None


class _Hook:
    """What msgspec does not know itself. Nothing here refers to itself: when the call is over, so is the hold on what
    was captured, and its place is free, whether or not a garbage collector runs."""

    __slots__ = ("_at", "_place", "_placed", "_wired", "met")

    def __init__(self, place: Place, at: int | None) -> None:
        self.met = False
        self._place = place
        self._at = at
        self._placed: dict[Payload, _Ext] = {}
        self._wired: dict[int, tuple[WBValue, tuple[str, dict[str, Any]]]] = {}
        """By id: what stands at several places, a table in several charts, is captured once."""

    def encode(self, value: Any) -> bytes:
        try:  # a function, since an Encoder that holds this would be one more object for each value
            return _encode(value, enc_hook=self)
        except (OverflowError, UnicodeEncodeError):
            return _encode(values.portable(value), enc_hook=self)

    def __call__(self, value: Any) -> Any:
        if isinstance(value, Payload):
            return self._payload(value)
        if not isinstance(value, WBValue):
            value = arrays.capture(value) if _is_large_array(value) else bare.media_of(value)
            if not isinstance(value, WBValue):
                return values.hook(value)
        self.met = True
        known = self._wired.get(id(value))
        if known is None:
            known = self._wired[id(value)] = (value, value._wire())
        return self._media(*known[1])

    def _media(self, kind: str, args: dict[str, Any]) -> _Ext:
        packed = {}
        for name, argument in args.items():
            # Parts and bytes would come back by the encoder's hook: here it is without that way round.
            if type(argument) is Part:
                packed[name] = self._media(argument._kind, argument._args)
            elif type(argument) is Payload:
                packed[name] = self._payload(argument)
            elif argument is not None:
                packed[name] = argument
        return _Ext(EXT_MEDIA, self.encode([kind, packed] if self._at is None else [kind, packed, self._at]))

    def _payload(self, payload: Payload) -> Any:
        if payload.size <= INLINE_BYTES:
            return bytes(payload)
        ext = self._placed.get(payload)
        if ext is None:
            ext = self._placed[payload] = _Ext(EXT_BLOB, _pack([self._place(payload), payload.size]))
        return ext


def _is_large_array(value: Any) -> bool:
    return tensors.is_array(value) and tensors.is_large(value)


def _check_places(data: Any) -> None:
    """wandb stores media as values of dicts and as lists of nothing else. Raises TypeError elsewhere."""
    if isinstance(data, dict):
        for value in data.values():
            if isinstance(value, WBValue):
                value._check_run()
            elif isinstance(value, (dict, list, tuple)):
                _check_places(value)
    elif isinstance(data, WBValue):
        data._check_run()
    elif isinstance(data, (list, tuple)):
        if all(isinstance(item, WBValue) for item in data):
            for item in data:
                item._check_run()
            if data and isinstance(data[0], BatchableMedia) and all(isinstance(item, type(data[0])) for item in data):
                data[0]._warn_of_list(data)
            return
        for item in data:
            _check_plain(item)


def _check_plain(value: Any) -> None:
    if isinstance(value, WBValue) or bare.is_media(value):
        raise TypeError(
            f"Object of type {type(value).__name__} is not JSON serializable: a list may hold media of one kind and"
            " nothing else; log the values under keys of their own"
        )
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    for item in items:
        _check_plain(item)
