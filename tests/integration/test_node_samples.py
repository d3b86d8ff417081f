"""Samples of other nodes: the run worker shows each once though it is killed, and a node counts what it loses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.journal.reader import read_spool
from client.limits import CAP_MIN_BYTES
from client.policy import Policy
from client.protocol import framing, records
from client.protocol.messages import RunSpec
from client.protocol.records import Row, Sample
from telemetryd.node import streams
from telemetryd.node.streams import Streams
from telemetryd.runs import control, wandb_file
from tests.support.processes import wait_until
from tests.support.run_rig import RunRig

NODE = "ab" * 16
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def rig(short_path: Path) -> Iterator[RunRig]:
    made = RunRig(short_path / "rig")
    yield made
    made.close()


def shown(rig: RunRig, key: str) -> list[tuple[int, float]]:
    """(time in ns, value) of a key in the System panel, in the order of the run's files."""
    found = []
    for path in rig.files():
        for record in wandb_file.records(path):
            if record.WhichOneof("record_type") == "stats":
                at = record.stats.timestamp.ToNanoseconds()
                found += [(at, float(item.value_json)) for item in record.stats.item if item.key == key]
    return found


def test_a_worker_killed_before_any_progress_was_stored_shows_no_sample_twice(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1"))
    begin_ns = time.time_ns() - 10**12
    taken = [Sample(begin_ns + n * 10**9, {"cpu/l:n2": float(n)}, "n2", offset_ns=-5 * 10**8) for n in range(300)]
    rig.append([Row(0, 1, {"a": 0})])
    rig.append(taken, NODE)
    rig.append([Row(1, 1, {"a": 1})])
    worker = rig.start()
    worker.store_progress = False
    wait_until(lambda: len(shown(rig, "cpu/l:n2")) >= 100, 60, worker.log.read_text)
    worker.kill()
    again = rig.start()
    again.finish()
    assert shown(rig, "cpu/l:n2") == [(sample.time_ns, sample.values["cpu/l:n2"]) for sample in taken]
    assert {value for _, value in shown(rig, "host.clock.offsetSeconds/l:n2")} == {-0.5}
    published = sum(report.published for report in again.reports if isinstance(report, control.Sampled))
    assert published < len(taken), "the first worker had shown some"
    assert [step for step, _ in rig.rows()] == [0, 1]


def samples_in(folder: Path) -> list[Sample]:
    found = []
    for stretch in read_spool(folder).stretches():
        for body in framing.bodies(memoryview(stretch.payload), stretch.first):
            assert body[1] is not None
            record = records.decode(memoryview(body[1]))
            found += [record] if isinstance(record, Sample) else []
    return found


def test_without_a_daemon_samples_wait_in_a_journal_and_what_is_beyond_its_cap_is_counted(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Policy(spool_max_bytes=CAP_MIN_BYTES, memory_max_bytes=CAP_MIN_BYTES, stop_signal=None)
    monkeypatch.setattr(streams, "_POLICY", small)
    spec, spool = RunSpec("r1", project="p"), short_path / "spool"
    node = Streams(f"ipc://{short_path}/nobody.sock", spool, "n2")
    values: dict[str, float] = {f"{number:0990d}": 1.0 for number in range(100)}
    kept = lost = 0
    while lost < 3:
        given = node.give(spec, control.Samples(kept + lost, values))
        kept, lost = kept + given, lost + (not given)
    assert kept > 10
    told: list[Any] = []
    (session,) = node._open.values()
    monkeypatch.setattr(session, "record", lambda record: told.append(record) or True)
    assert node.give(spec, control.Samples(9, {"cpu": 1.0})), "there is room again"
    assert told[0].lost == 3 * len(values), "what was lost is told with the next sample that is kept"
    assert node.give(spec, control.Samples(10, {"cpu": 1.0}))
    assert told[1].lost == 0
    assert not node.close(0), "the rest waits on disk"
    (folder,) = spool.iterdir()
    on_disk = samples_in(folder)
    assert [sample.time_ns for sample in on_disk] == list(range(len(on_disk)))
    assert len(on_disk) >= kept - CAP_MIN_BYTES // 100_000 - 1
