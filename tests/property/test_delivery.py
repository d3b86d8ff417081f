"""The delivery window against a wire that loses, delays and cuts, and a daemon that refuses and restarts."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from client.delivery import Delivery, Phase

WINDOW = 1000

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("log"), st.integers(1, 20)),
        st.tuples(st.just("ship"), st.integers(1, 400)),
        st.tuples(st.just("take"), st.booleans()),  # the daemon takes a message; is its ack lost?
        st.tuples(st.just("lose"), st.none()),
        st.tuples(st.just("cut"), st.none()),
        st.tuples(st.just("refuse"), st.sampled_from(["full", "stopping", "unknown_session"])),
        st.tuples(st.just("time"), st.floats(0.01, 50)),
    ),
    max_size=200,
)


class Wire:
    """Records as numbers: what the daemon kept, and what is on its way to it."""

    def __init__(self) -> None:
        self.delivery = Delivery()
        self.logged = 0
        self.kept: list[int] = []
        self.flying: list[tuple[int, int]] = []
        self.now_s = 0.0

    def greet(self) -> None:
        if self.delivery.overdue(self.now_s):
            self.flying.clear()
            self.delivery.reopened(self.now_s)
        if self.delivery.should_greet(self.now_s):
            self.delivery.greeted(self.now_s, handed_over=True)
            self.delivery.welcome(len(self.kept), WINDOW, self.now_s)

    def ship(self, size: int) -> None:
        if self.delivery.room_bytes() > 0 and self.delivery.sent < self.logged:
            first = self.delivery.sent + 1
            last = min(self.logged, first + 4)
            self.flying.append((first, last))
            self.delivery.sending(last, size, self.now_s)

    def take(self, ack_lost: bool) -> None:
        if not self.flying:
            return
        first, last = self.flying.pop(0)
        if first > len(self.kept) + 1:
            self.delivery.refused("gap", len(self.kept), "", self.now_s)
            return
        self.kept.extend(range(len(self.kept) + 1, last + 1))
        if not ack_lost:
            self.delivery.ack(len(self.kept), self.now_s)

    def apply(self, event: str, value: object) -> None:
        if event == "log":
            self.logged += int(value)  # type: ignore[call-overload]
        elif event == "ship":
            self.ship(int(value))  # type: ignore[call-overload]
        elif event == "take":
            self.take(bool(value))
        elif event == "lose" and self.flying:
            self.flying.pop(0)
        elif event == "cut":
            self.flying.clear()
            self.delivery.reopened(self.now_s)
        elif event == "refuse" and self.flying:
            self.flying.pop(0)
            self.delivery.refused(str(value), len(self.kept), "", self.now_s)
        elif event == "time":
            self.now_s += float(value)  # type: ignore[arg-type]


@settings(max_examples=300, deadline=None)
@given(EVENTS)
def test_whatever_the_wire_does_every_record_arrives_once_and_in_order(events: list[tuple[str, object]]) -> None:
    wire = Wire()
    acked = 0
    for event, value in events:
        wire.greet()
        wire.apply(event, value)
        assert wire.delivery.acked >= acked, "acked never falls"
        acked = wire.delivery.acked
        assert acked <= len(wire.kept), "nothing counts as acked that the daemon does not have"
        assert acked <= wire.delivery.sent <= wire.logged
    for _ in range(2000):
        wire.now_s += 1.0
        wire.greet()
        wire.ship(100)
        wire.take(ack_lost=False)
        if wire.delivery.acked == wire.logged:
            break
    assert wire.kept == list(range(1, wire.logged + 1))
    assert wire.delivery.acked == wire.logged


@given(st.lists(st.integers(1, 600), min_size=1, max_size=50))
def test_no_more_than_the_window_and_one_batch_is_on_the_way(sizes: list[int]) -> None:
    delivery = Delivery()
    delivery.greeted(0, handed_over=True)
    delivery.welcome(0, WINDOW, 0)
    on_the_way = 0
    for number, size in enumerate(sizes, 1):
        if delivery.room_bytes() == 0:
            break
        on_the_way += size
        delivery.sending(number, size, 0)
        assert on_the_way < WINDOW + size


def test_a_daemon_that_stays_silent_is_tried_again_ever_more_rarely() -> None:
    delivery = Delivery()
    now_s, tries = 0.0, []
    while len(tries) < 6:
        now_s += 0.5
        if delivery.should_greet(now_s):
            delivery.greeted(now_s, handed_over=True)
        if delivery.overdue(now_s):
            tries.append(now_s)
            delivery.reopened(now_s)
    gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert gaps == sorted(gaps)
    assert gaps[0] >= 5
    assert gaps[-1] >= 40


def test_a_refused_version_is_for_good() -> None:
    delivery = Delivery()
    delivery.greeted(0, handed_over=True)
    delivery.refused("version", 0, "update", 0)
    delivery.welcome(5, WINDOW, 1)
    assert delivery.phase is Phase.REFUSED
    assert not delivery.should_greet(1e9)


def test_acks_may_wait_while_half_of_the_window_is_free() -> None:
    delivery = Delivery()
    assert not delivery.has_much_room(), "not before the daemon has answered"
    delivery.greeted(0, handed_over=True)
    delivery.welcome(0, WINDOW, 0)
    delivery.sending(1, WINDOW // 2 - 1, 0)
    assert delivery.has_much_room()
    delivery.sending(2, 1, 0)
    assert not delivery.has_much_room()
    delivery.ack(1, 0)
    assert delivery.has_much_room()
    delivery.refused("full", 1, "the inbox is at its cap", 0)
    assert not delivery.has_much_room()
