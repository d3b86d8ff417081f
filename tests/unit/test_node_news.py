"""What nodes tell of their machines: once in the run and in `status`, over when it is; and what a node tells."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from client.protocol import framing, records
from client.protocol.messages import Hello, RunSpec
from client.protocol.records import Alert, End, Event, Summary
from telemetryd.errors import InboxError
from telemetryd.health import events as health_events
from telemetryd.health.counters import Counters
from telemetryd.health.events import Events
from telemetryd.health.node_news import NodeNews
from telemetryd.health.telling import Telling
from telemetryd.inbox import database
from telemetryd.inbox.home import Home
from telemetryd.inbox.store import Inbox
from telemetryd.limits import NODE_TEXT_MAX_CHARS
from telemetryd.node.findings import Findings, NodeEvents
from telemetryd.settings.rules import BY_NAME
from telemetryd.supervision.teller import Concerned

TRAIN, NODE, OTHER = "a" * 32, "b" * 32, "c" * 32


class Rig:
    """An inbox with an open run, and what is made known of what nodes tell it."""

    def __init__(self, path: Path, *, alerts: bool = True) -> None:
        database.prepare(path)
        home = Home(path)
        self.inbox = Inbox(path, home)
        self.events, self.counters = Events(), Counters()
        self.telling = Telling(self.events, alerts=alerts, alert_wait_s=60)
        self.news = home.node_news = NodeNews(self.events, self.counters, self.telling, lambda run_id: 42)
        self.run_id = self.hello(Hello(TRAIN, run=RunSpec("r"), pid=1))
        self.sent: dict[str, int] = {}
        for session, host in ((NODE, "n2"), (OTHER, "n3")):
            self.hello(Hello(session, role="node", run=RunSpec("r"), pid=2, host=host))

    def hello(self, hello: Hello) -> int:
        with self.inbox.transaction():
            return self.inbox.intake.hello(hello, time.time_ns()).run_id or 0

    def say(self, session: str, *said: records.Record, first: int | None = None) -> None:
        first = self.sent.get(session, 0) + 1 if first is None else first
        body = b"".join(framing.frame(records.encode(one), first + n) for n, one in enumerate(said))
        with self.inbox.transaction():
            self.inbox.intake.append(session, first, first + len(said) - 1, body)
        self.sent[session] = max(self.sent.get(session, 0), first + len(said) - 1)

    def told(self) -> list[Any]:
        """What the daemon itself has said in the run."""
        found = []
        for (body,) in self.inbox.database.rows("SELECT body FROM batches WHERE session = 'daemon' ORDER BY batch"):
            found += [records.decode(memoryview(one or b"")) for _, one in framing.bodies(memoryview(body), 0)]
        return found

    def summary(self) -> dict[str, Any]:
        updates = [update for one in self.told() if isinstance(one, Summary) for update in one.update]
        return {"/".join(path).removeprefix("_telemetryd/health/"): value for path, value in updates}

    def active(self) -> list[tuple[str, str]]:
        return [(rule, subject) for rule, subject, _ in self.events.active()]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "inbox.sqlite3")
    yield made
    made.inbox.close()


def xid(code: int = 79, node: str = "n2", **more: Any) -> Event:
    return Event(time.time_ns(), "xid", f"XID {code}", node, "reset it", True, code, "GPU-1", 5, 0, **more)


def found(rule: str, node: str = "n2", subject: str = "/data", **more: Any) -> Event:
    return Event(time.time_ns(), rule, "99 % used", node, rule=rule, subject=subject, **more)


def test_an_event_of_a_node_is_an_event_of_the_daemons_with_run_rank_step_gpu_and_node(rig: Rig) -> None:
    rig.say(NODE, xid())
    (event,) = rig.events.all()
    assert (event.kind, event.code, event.uuid, event.node) == ("xid", 79, "GPU-1", "n2")
    assert (event.run, event.rank, event.step, event.gpu) == ("//r", 5, 42, 0)
    assert event.fatal
    assert rig.told() == [], "an event without a rule is not the run's"


def test_a_finding_is_in_the_runs_summary_and_an_alert_and_counts_for_all_nodes_together(rig: Rig) -> None:
    rig.say(NODE, xid(), xid(rule="xid", subject="GPU-1 XID 79", known=True))
    rig.say(OTHER, xid(31, "n3"), xid(31, "n3", rule="xid", subject="GPU-1 XID 31", known=True))
    assert [event.code for event in rig.events.all()] == [79, 31], "each is listed once"
    assert rig.active() == [("xid", "n2 GPU-1 XID 79"), ("xid", "n3 GPU-1 XID 31")]
    summary = rig.summary()
    assert (summary["xid"], summary["xid/count"], summary["xid/active"]) == ("XID 31", 2, True)
    assert (summary["xid/node"], summary["xid/rank"], summary["xid/step"], summary["xid/gpu"]) == ("n3", 5, 42, 0)
    alerts = [one for one in rig.told() if isinstance(one, Alert)]
    assert [alert.title for alert in alerts] == [BY_NAME["xid"].title] * 2
    assert "node n2, rank 5" in alerts[0].text
    assert alerts[0].wait_ms == 60_000
    counted = rig.counters.as_map()
    assert (counted["health_raised"], counted["health_alerts"]) == (2, 2)
    assert rig.events.raised()["xid"] == 2


def test_what_is_sent_again_is_told_once(rig: Rig) -> None:
    record = found("disk")
    rig.say(NODE, record, first=1)
    told = rig.told()
    rig.say(NODE, record, first=1)
    assert rig.told() == told
    assert len(rig.events.all()) == 1


def test_a_transaction_that_fails_leaves_nothing_behind(rig: Rig) -> None:
    def fail() -> None:
        with rig.inbox.transaction():
            rig.say(NODE, found("disk"), first=1)
            raise InboxError("no room")

    for _ in range(3):
        with pytest.raises(InboxError):
            fail()
    rig.sent.clear()
    assert rig.events.all() == []
    assert rig.active() == []
    rig.say(NODE, found("disk"), first=1)
    assert rig.summary()["disk/count"] == 1


def test_an_episode_is_over_when_the_node_says_so_and_a_subject_of_two_runs_when_both_do(rig: Rig) -> None:
    second = "e" * 32
    other_run = rig.hello(Hello("d" * 32, run=RunSpec("s"), pid=3))
    rig.hello(Hello(second, role="node", run=RunSpec("s"), pid=2, host="n2"))
    rig.say(NODE, found("disk"))
    rig.say(second, found("disk"))
    assert rig.active() == [("disk", "n2 /data")]
    assert rig.events.raised()["disk"] == 1
    rig.say(NODE, found("disk", over=True))
    assert rig.active() == [("disk", "n2 /data")]
    rig.say(second, found("disk", over=True))
    assert rig.active() == []
    assert rig.summary()["disk/active"] is False
    assert rig.counters["health_cleared"] == 1
    assert other_run != rig.run_id


@pytest.mark.parametrize("how", ["end", "lost", "run over"])
def test_what_a_node_found_is_over_when_nobody_can_tell_of_it_any_more(rig: Rig, how: str) -> None:
    rig.say(NODE, found("disk"))
    rig.say(OTHER, found("disk", "n3"))
    if how == "end":
        rig.say(NODE, End(1))
    elif how == "lost":
        with rig.inbox.transaction():
            assert rig.inbox.intake.lose(NODE, 1)[0]
    else:
        rig.news.keep({rig.run_id})
        assert len(rig.active()) == 2
        rig.news.keep(set())
        assert rig.active() == []
        assert not rig.news.holds
        return
    assert rig.active() == [("disk", "n3 /data")]
    assert rig.summary()["disk/active"] is True, "the other node's is not over"


def test_what_comes_too_late_or_had_no_room_is_counted(rig: Rig) -> None:
    rig.say(NODE, found("disk", lost=3))
    assert rig.counters["health_untold"] == 3
    rig.say(TRAIN, End(1, exit_code=0))
    assert rig.inbox.progress.close(rig.run_id, lambda sessions: 0)
    rig.say(NODE, found("host_memory", lost=2), End(2))
    assert rig.counters["health_untold"] == 6
    assert "host_memory" not in rig.summary()
    assert rig.active() == []


def test_a_node_cannot_make_the_daemon_keep_more_than_a_little(rig: Rig) -> None:
    huge = "x" * 100_000
    rig.say(NODE, Event(1, huge, huge, huge, huge, uuid=huge, rule="disk", subject=huge))
    (event,) = rig.events.all()
    assert max(map(len, (event.kind, event.message, event.advice, event.node or "", event.uuid or ""))) <= (
        NODE_TEXT_MAX_CHARS
    )
    assert event.step is None, "of long ago: not the step that training is at"
    rig.say(NODE, Event(1, "new", "a rule of a newer node", rule="tomorrow"), Event(1, "new", "m", rule="x", over=True))
    assert [one.kind for one in rig.events.all()[1:]] == ["new"]


def test_without_alerts_the_summary_alone_tells(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "inbox.sqlite3", alerts=False)
    rig.say(NODE, found("disk"))
    assert [type(one) for one in rig.told()] == [Summary]
    assert rig.counters["health_alerts"] == 0
    rig.inbox.close()


# What a node tells.


def test_a_node_tells_each_run_of_its_events_and_all_who_heard_of_an_episode_of_its_end() -> None:
    told: list[tuple[str, Event]] = []
    events = NodeEvents(lambda key, event: told.append((key, event)))
    findings = Findings(events, lambda key, event: told.append((key, event)))
    events.add(health_events.Event(9, "xid", "m", "a", True, 79, "GPU-1", "//r", 5, None, 0))
    events.add(health_events.Event(9, "driver_lost", "of no run"))
    assert told == [("//r", Event(9, "xid", "m", "", "a", True, 79, "GPU-1", 5, 0))]
    told.clear()
    disk, event = BY_NAME["disk"], health_events.Event(9, "disk", "99 %")
    findings.raised(disk, "8:1", event, [Concerned(1, "//r"), Concerned(2, "//s", 3, 1)], lasts=True)
    assert [(key, one.rank, one.gpu) for key, one in told] == [("//r", None, None), ("//s", 3, 1)]
    assert {(one.rule, one.subject, one.over, one.known) for _, one in told} == {("disk", "8:1", False, False)}
    told.clear()
    findings.cleared(disk, "8:1", "there is room", [Concerned(1, "//r")])
    findings.cleared(disk, "8:1", "there is room", [Concerned(1, "//r")])
    assert [(key, one.over, one.message) for key, one in told] == [
        ("//r", True, "there is room"),
        ("//s", True, "there is room"),
    ]
    assert msgspec.msgpack.decode(records.encode(told[0][1]))["t"] == "evt"
