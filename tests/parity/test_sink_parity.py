"""What the worker writes is what wandb writes for the same calls: rows, order, config, summary, metric definitions."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import wandb.proto.wandb_internal_pb2  # noqa: F401 - now: its temporary folders must not be made inside a test

from client.protocol.messages import RunSpec
from client.protocol.records import EXT_ARRAY, EXT_BIG_INT, Config, End, Metric, Record, Row, Summary
from telemetryd.runs import wandb_file
from tests.parity.compare import content, history
from tests.parity.sink_scripts import SCRIPTS
from tests.support.run_rig import RunRig

REPOSITORY = Path(__file__).parents[2]


class AsRecords:
    """The calls of a script as the records that a client would send."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.step = 0
        self.clock_ns = 1_700_000_000_000_000_000

    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        closes = commit if commit is not None else step is None
        number = self.step if step is None else step
        if number >= self.step:
            self.step = number + 1 if closes else number
        self.clock_ns += 1_000_000
        self.records.append(Row(number, self.clock_ns, wire(data), closes, step is not None))

    def config(self, update: dict[str, Any]) -> None:
        self.records.append(Config(wire(update)))

    def summary(self, path: list[str], value: Any) -> None:
        self.records.append(Summary([(path, wire(value))]))

    def unsummary(self, key: str) -> None:
        self.records.append(Summary([], [[key]]))

    def metric(self, name: str, **options: Any) -> None:
        self.records.append(Metric(name, **options))

    def array(self, values: list[float], shape: tuple[int, ...], dtype: str) -> Any:
        raw = struct.pack(f"<{len(values)}{'d' if dtype == '<f8' else 'f'}", *values)
        return msgspec.msgpack.Ext(EXT_ARRAY, msgspec.msgpack.encode((dtype, shape, raw)))


def wire(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: wire(item) for key, item in value.items()}
    if isinstance(value, list):
        return [wire(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        return msgspec.msgpack.Ext(EXT_BIG_INT, str(value).encode())
    return value


@pytest.fixture
def rig(short_path: Path) -> Iterator[RunRig]:
    rig = RunRig(short_path / "rig")
    yield rig
    rig.close()


def on_wandb(name: str, folder: Path) -> Path:
    folder.mkdir()
    command = [sys.executable, "-m", "tests.parity.sink_on_wandb", name, str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, timeout=90, check=True)
    return Path(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_the_worker_writes_what_wandb_writes(name: str, rig: RunRig, short_path: Path) -> None:
    reference = on_wandb(name, short_path / "reference")
    calls = AsRecords()
    SCRIPTS[name](calls)
    rig.add_run(RunSpec("parity", project="p", config={"first": 1}))
    rig.append([*calls.records, End(calls.clock_ns, 0)], per_batch=17)
    progress = rig.start().finish()
    (written,) = rig.files()
    assert history(written) == history(reference)
    assert content(written) == content(reference)
    rows = sum(isinstance(record, Row) for record in calls.records)
    assert (progress.delivered, progress.dropped, progress.late) == (rows, {}, 0)
    stamps = [row["_timestamp"] for _, row in wandb_file.history_rows(written)]
    assert stamps == sorted(stamps)
    assert stamps[-1] == pytest.approx(calls.clock_ns / 1e9, abs=1e-6)
