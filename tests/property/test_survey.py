"""The walk over a payload against a plain one that takes no short cuts."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.protocol import framing, records
from client.protocol.errors import MalformedError, OversizedError
from client.protocol.limits import RECORD_MAX_BYTES
from client.protocol.records import Config, End, Losses, Output, Row
from telemetryd.inbox.survey import survey

encode = msgspec.msgpack.encode


@dataclass
class Seen:
    start: int = 0
    rows: int = 0
    lost: int = 0
    end: bool = False
    output: str = ""


def plain(bodies: list[bytes], first: int, acked: int) -> Seen:
    seen, position = Seen(), 0
    for number, body in enumerate(bodies, first):
        position += len(body) + framing.HEADER_BYTES
        if number <= acked:
            seen.start = position
        elif records.is_row(body):
            seen.rows += 1
        else:
            try:
                record = records.decode(body)
            except ValueError:
                continue
            seen.lost += sum(record.rows.values()) if isinstance(record, Losses) else 0
            seen.end |= isinstance(record, End)
            seen.output += record.text if isinstance(record, Output) else ""
    return seen


rows = st.builds(lambda step, data: encode(Row(step, 1, data)), st.integers(0, 2**40),
                 st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False), max_size=4))  # fmt: skip
others = st.sampled_from([encode(Config({"a": 1})), encode(Losses({"x": 2})), encode(End(5, 0)),
                          encode(Output("stdout", "text", 1))])  # fmt: skip
junk = st.binary(min_size=1, max_size=12)
bodies_of = st.lists(rows | rows | others | junk, min_size=1, max_size=30)


@given(bodies_of, st.integers(1, 10**6), st.data())
def test_it_sees_what_a_plain_walk_sees(bodies: list[bytes], first: int, data: st.DataObject) -> None:
    last = first + len(bodies) - 1
    acked = data.draw(st.integers(first - 2, last + 1))
    payload = b"".join(framing.frame(body, first + index) for index, body in enumerate(bodies))
    for form in (bytes, bytearray, memoryview):
        found, wanted = survey(form(payload), first, last, acked), plain(bodies, first, acked)
        assert (found.start, found.rows) == (wanted.start, wanted.rows)
        assert sum(found.losses.values()) == wanted.lost
        assert (found.end is not None, "".join(one.text for one in found.output)) == (wanted.end, wanted.output)


@given(bodies_of, st.data())
def test_what_is_cut_or_miscounted_is_refused(bodies: list[bytes], data: st.DataObject) -> None:
    payload = b"".join(framing.frame(body, 1 + index) for index, body in enumerate(bodies))
    ends = {end for _, end in framing.spans(payload)}
    cut = data.draw(st.integers(1, len(payload)))
    if cut not in ends:
        with pytest.raises(MalformedError):
            survey(payload[:cut], 1, len(bodies), 0)
    with pytest.raises(MalformedError):
        survey(payload, 1, len(bodies) + data.draw(st.sampled_from([-1, 1, 7])), 0)


@pytest.mark.parametrize("length", [0, RECORD_MAX_BYTES + 1, 2**32 - 1])
def test_a_row_of_an_impossible_length_is_refused(length: int) -> None:
    whole = framing.frame(encode(Row(1, 1, {"x": 1.0})), 1)
    payload = whole + struct.pack("<I", length) + whole[4:] + whole
    with pytest.raises((MalformedError, OversizedError)):
        survey(payload, 1, 3, 0)
