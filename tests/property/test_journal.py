"""The journal under random loads, random acks, random damage."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.journal import format as fmt
from client.journal import reader, supply, writer
from client.journal.blobs import Blobs
from client.journal.folder import Home
from client.journal.segment import Segment
from client.journal.supply import Supply
from client.journal.writer import JournalWriter
from client.protocol.framing import bodies
from client.protocol.messages import Hello
from client.shipping import Shipping

SESSION = bytes(range(16))
SMALL_SEGMENT_BYTES = 4096


@contextmanager
def journal() -> Iterator[tuple[JournalWriter, Supply, Path]]:
    """A journal of small segments, so that a few records fill one."""
    spool = Path(tempfile.mkdtemp())
    home = Home(spool, Hello(SESSION.hex()))
    home.make()
    folder = home.path
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supply, "SEGMENT_BYTES", SMALL_SEGMENT_BYTES)
        patch.setattr(writer, "SEGMENT_BYTES", SMALL_SEGMENT_BYTES)
        first = Segment.in_file(folder / fmt.file_name(1), SMALL_SEGMENT_BYTES, SESSION)
        made = JournalWriter(SESSION, first)
        tending = Supply(made, Blobs(lambda: None), home, 1 << 30)
        try:
            yield made, tending, folder
        finally:
            made.close("test")
            tending.close()
            made.release()
            home.release()
            shutil.rmtree(spool)


def on_disk(folder: Path) -> tuple[dict[int, bytes], list[str]]:
    """Every record that can be read from the folder's files, and the damage told."""
    damage: list[str] = []
    found: dict[int, bytes] = {}
    for path in sorted(folder.glob("*.seg")):
        stretch = reader.read_segment(path, damage)
        if stretch is not None:
            for number, body in bodies(stretch.payload, stretch.first):
                assert body is not None
                found[number] = bytes(body)
    return found, damage


def body(number: int, size: int) -> bytes:
    return random.Random(number).randbytes(size)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 2500)),
        st.tuples(st.just("large"), st.integers(4000, 20_000)),
        st.tuples(st.just("ship"), st.integers(0, 1)),
        st.tuples(st.just("ack"), st.floats(0, 1)),
    ),
    max_size=80,
)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_what_is_not_acked_is_on_disk_and_ships_in_order_whatever_is_recycled(
    steps: list[tuple[str, float]],
) -> None:
    with journal() as (made, tending, folder):
        sizes: list[int] = []
        shipped: list[bytes] = []
        shipping = Shipping(made, Blobs(lambda: None))
        acked = 0
        tending.tend(0, 0.0)
        for step, value in steps:
            if step in ("append", "large"):
                sizes.append(int(value))
                assert made.append(body(len(sizes), int(value)))
            elif step == "ship":
                while (stretch := shipping.next()) is not None:
                    assert stretch.first == len(shipped) + 1
                    shipped.extend(bytes(b) for _, b in bodies(stretch.payload, stretch.first) if b is not None)
                    assert len(shipped) == stretch.last
            else:
                acked = max(acked, int(len(shipped) * value))
                shipping.leave_shipped()
                tending.tend(acked, 0.0)
        assert shipped == [body(number, size) for number, size in enumerate(sizes[: len(shipped)], 1)]
        tending.save_rest()
        found, damage = on_disk(folder)
        assert damage == []
        for number in range(acked + 1, len(sizes) + 1):
            assert found[number] == body(number, sizes[number - 1])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(1, 30))
def test_shipping_can_start_again_at_any_record(sizes: list[int], start: int) -> None:
    with journal() as (made, _, _):
        for number, size in enumerate(sizes, 1):
            made.append(body(number, size))
        start = min(start, len(sizes) + 1)
        shipping = Shipping(made, Blobs(lambda: None))
        while shipping.next():
            pass
        shipping.seek(start)
        again = []
        while (stretch := shipping.next()) is not None:
            again.extend(number for number, b in bodies(stretch.payload, stretch.first) if b is not None)
        assert again == list(range(start, len(sizes) + 1))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=15),
    st.lists(st.tuples(st.integers(0, SMALL_SEGMENT_BYTES - 1), st.integers(0, 7)), max_size=4),
    st.integers(0, SMALL_SEGMENT_BYTES),
)
def test_a_torn_or_bit_flipped_segment_never_yields_a_wrong_record(
    sizes: list[int], flips: list[tuple[int, int]], cut: int
) -> None:
    with journal() as (made, _, folder):
        for number, size in enumerate(sizes, 1):
            made.append(body(number, size))
        path = folder / fmt.file_name(1)
        content = bytearray(path.read_bytes())
        for offset, bit in flips:
            content[offset] ^= 1 << bit
        (folder / "damaged").write_bytes(content[: SMALL_SEGMENT_BYTES - cut])
        damage: list[str] = []
        stretch = reader.read_segment(folder / "damaged", damage)
        if stretch is None:
            return
        true_bodies = {number: body(number, size) for number, size in enumerate(sizes, 1)}
        for number, found in bodies(stretch.payload, stretch.first):
            assert found is not None
            assert true_bodies.get(number) == bytes(found) or _renumbered(content)


def _renumbered(content: bytearray) -> bool:
    """Whether the damage hit the header's own numbers, where a flipped `first` can meet a checksum's collision."""
    return fmt.HEADER.unpack_from(content)[3] != 1


def test_a_damaged_segment_does_not_stop_the_reading_of_the_others() -> None:
    with journal() as (made, tending, folder):
        for number in range(1, 40):
            tending.tend(0, 0.0)
            made.append(body(number, 500))
        (folder / fmt.file_name(2)).write_bytes(b"garbage")
        found, damage = on_disk(folder)
        assert len(damage) == 1
        assert fmt.file_name(2) in damage[0]
        assert 1 in found
        assert 39 in found
        assert all(found[number] == body(number, 500) for number in found)
