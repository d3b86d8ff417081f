"""The ledger that a real worker leaves in the run's summary."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import wandb.proto.wandb_internal_pb2  # noqa: F401 - now: its temporary folders must not be made inside a test

from client.protocol import framing
from client.protocol.messages import RunSpec
from client.protocol.records import Config, End, Losses, Row, encode
from telemetryd.runs import control
from telemetryd.runs.carried import Carried, carried_from
from telemetryd.runs.notes import Folder
from tests.support.run_rig import SESSION, RunRig, rows


@pytest.fixture
def rig(short_path: Path) -> Iterator[RunRig]:
    rig = RunRig(short_path / "rig")
    yield rig
    rig.close()


def carried(rig: RunRig) -> Carried:
    return carried_from(Folder(str(path.parent), str(path), "offline", 0) for path in rig.files())


def ledger(rig: RunRig) -> dict[str, int]:
    summary = carried(rig).summary
    return {key: value for key, value in summary.items() if key.startswith("_telemetryd/")}


def test_a_run_s_summary_says_what_was_offered_delivered_late_and_lost_by_reason(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1"))
    late = Row(3, 1, {"late": 1}, explicit=True)
    refused = Row(50, 1, {"bad": msgspec.msgpack.Ext(2, b"no array")})
    rig.append([*rows(50), refused, late, Losses({"spool_full": 7}), End(1, 0)])
    with sqlite3.connect(rig.inbox) as inbox:  # what the daemon notes of the session when it takes these records
        inbox.execute(
            "UPDATE sessions SET received = 52, offered = 60, lost = ?, state = 'ended' WHERE session = ?",
            (msgspec.msgpack.encode({"spool_full": 7}), SESSION),
        )
    rig.start().finish(0)
    found = ledger(rig)
    assert found.pop("_telemetryd/dropped/spool_full") == 7
    assert found.pop("_telemetryd/dropped/never_arrived") == 1
    refusals = found.pop("_telemetryd/dropped/refused", 0) + found.pop("_telemetryd/dropped/corrupt", 0)
    assert found == {
        "_telemetryd/offered": 60,
        "_telemetryd/delivered": 52 - refusals,
        "_telemetryd/late": 1,
    }


def test_the_config_of_a_further_session_is_the_run_s(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1", config={"lr": 0.1, "kept": 1}))
    rig.append(rows(3))
    other = "d" * 32
    rig.append_payload(other, 0, 1, 0, framing.frame(encode(Config({"lr": 0.5, "new": [1]})), 0))
    rig.start().finish(0)
    config = carried(rig).config
    assert {key: config[key] for key in ("lr", "kept", "new")} == {"lr": 0.5, "kept": 1, "new": [1]}


def test_a_worker_that_dies_before_the_end_leaves_the_same_ledger(rig: RunRig) -> None:
    rig.add_run(RunSpec("r1"))
    rig.append(rows(2000))
    first = rig.start()
    first.wait_for(control.Progress, lambda report: report.delivered > 0)
    first.kill()
    rig.start().finish(0)
    assert ledger(rig) == {"_telemetryd/offered": 2000, "_telemetryd/delivered": 2000, "_telemetryd/late": 0}
