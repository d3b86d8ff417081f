"""The body of a Row, laid out by hand: the same msgpack map that msgspec makes of `records.Row`, in another key order.

A `log` call encodes its data before it knows the step, outside every lock, because values may run their owners' code
(a tensor's `item`). What depends on the step is then two numbers behind the data:

    0x84  "t" "r"  "d" <data>  "s" int64 step  "n" int64 time          [ "c" false ]  [ "x" true ]
"""

from __future__ import annotations

import struct

from client.protocol.records import ROW_PREFIX

STEP_KEY = b"\xa1s\xd3"
TIME_KEY = b"\xa1n\xd3"
pack_tail = struct.Struct(">3sq3sq").pack
"""`pack_tail(STEP_KEY, step, TIME_KEY, time_ns)`."""

HEAD = b"\x84" + ROW_PREFIX + b"\xa1d"
"""What stands before the data of a row whose step was numbered here and that is closed by this call."""

_OPEN = b"\xa1c\xc2"
_EXPLICIT = b"\xa1x\xc3"
_FORMS = {
    (True, False): (HEAD, b""),
    (False, False): (b"\x85" + HEAD[1:], _OPEN),
    (True, True): (b"\x85" + HEAD[1:], _EXPLICIT),
    (False, True): (b"\x86" + HEAD[1:], _OPEN + _EXPLICIT),
}
"""By (closes, explicit): what stands before the data, and what behind the time."""


def row_body(data: bytes, step: int, time_ns: int, closes: bool, explicit: bool) -> bytes:
    """The body of any Row. `data` is an encoded map."""
    head, flags = _FORMS[closes, explicit]
    return head + data + pack_tail(STEP_KEY, step, TIME_KEY, time_ns) + flags
