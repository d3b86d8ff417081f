"""The .wandb reader on files of wandb's own making and on damaged ones."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import wandb.proto.wandb_internal_pb2  # noqa: F401 - now: its temporary folders must not be made inside a test
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetryd.runs import wandb_file
from telemetryd.runs.wandb_file import BLOCK_BYTES, HEADER, NotWandbFileError, RecordReader, Tally

SCRIPT = """
import wandb
run = wandb.init(mode="offline", project="p", id="known", settings=wandb.Settings(console="off", silent=True))
for i in range(1500):
    run.log({"a": i, "nested": {"b": i * 0.5}, "text": "x" * (i % 200)})
run.config.update({"lr": 1})
run.summary["best"] = 3
run.define_metric("a", summary="max")
run.log({"a": -1, "none": None, "nan": float("nan")}, step=5000)
run.finish()
print(run.settings.sync_file)
"""


def leveldb(records: list[bytes]) -> bytes:
    """What a LevelDB log writer makes of some records, behind the .wandb header."""
    out = bytearray(HEADER)
    for record in records:
        first, rest = True, record
        while True:
            left = BLOCK_BYTES - len(out) % BLOCK_BYTES
            if left < 7:
                out += bytes(left)
                continue
            part, rest = rest[: left - 7], rest[left - 7 :]
            kind = (1 if first else 4) if not rest else (2 if first else 3)
            out += struct.pack("<IHB", zlib.crc32(bytes([kind]) + part), len(part), kind) + part
            first = False
            if not rest:
                break
    return bytes(out)


@pytest.fixture
def real_file(tmp_path: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=None,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    return Path(done.stdout.strip().splitlines()[-1])


def test_a_file_of_wandb_is_read_row_by_row_and_counted_alike(real_file: Path) -> None:
    rows = list(wandb_file.history_rows(real_file))
    assert [step for step, _ in rows] == [*range(1500), 5000] == wandb_file.history_steps(real_file)
    assert rows[7][1]["nested"] == {"b": 3.5}
    assert rows[-1][1]["none"] is None
    tally = Tally(real_file)
    tally.update(steps=True)
    assert (tally.history, tally.last_step, tally.exited) == (1501, 5000, True)
    assert (tally.said[wandb_file.CONFIG], tally.said[wandb_file.SUMMARY], tally.said[wandb_file.METRIC]) == (1, 1, 1)


def test_the_kind_of_every_record_is_the_one_that_protobuf_tells(real_file: Path) -> None:
    for payload, record in zip(RecordReader(real_file).read(), wandb_file.records(real_file), strict=True):
        name = record.WhichOneof("record_type")
        number = record.DESCRIPTOR.fields_by_name[name].number
        kind, said = wandb_file.kind_of(payload)
        assert kind == number, name
        if kind != wandb_file.HISTORY:
            assert said == bool(record._info.stream_id), name


def test_counting_a_growing_file_in_small_pieces_equals_counting_it_at_once(real_file: Path, tmp_path: Path) -> None:
    whole = real_file.read_bytes()
    copy = tmp_path / "growing.wandb"
    tally = Tally(copy)
    tally.update()
    with copy.open("ab") as stream:
        for start in range(0, len(whole), 3571):
            stream.write(whole[start : start + 3571])
            stream.flush()
            tally.update(steps=True)
    assert (tally.history, tally.last_step) == (1501, 5000)


sizes = st.lists(
    st.sampled_from([1, 7, 100, BLOCK_BYTES - 21, BLOCK_BYTES - 14, BLOCK_BYTES, 3 * BLOCK_BYTES]), max_size=8
)


@given(sizes, st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_cut_anywhere_gives_the_whole_records_before_the_cut(
    tmp_path: Path, lengths: list[int], data: st.DataObject
) -> None:
    records = [bytes([number + 1]) * length for number, length in enumerate(lengths)]
    whole = leveldb(records)
    cut = data.draw(st.integers(0, len(whole)))
    path = tmp_path / "cut.wandb"
    path.write_bytes(whole[:cut])
    reader = RecordReader(path)
    got = list(reader.read())
    assert got == records[: len(got)]
    complete = [len(leveldb(records[: n + 1])) <= cut for n in range(len(records))]
    assert len(got) == sum(complete)
    path.write_bytes(whole)
    assert got + list(reader.read()) == records


def test_damage_inside_costs_its_block_and_no_more(tmp_path: Path) -> None:
    records = [bytes([n + 1]) * 3000 for n in range(60)]
    whole = bytearray(leveldb(records))
    whole[BLOCK_BYTES + 9000] ^= 0xFF
    path = tmp_path / "damaged.wandb"
    path.write_bytes(whole)
    reader = RecordReader(path)
    got = list(reader.read())
    assert reader.skipped_blocks == 1
    assert got == [record for record in records if record in got]
    assert len(records) - 12 <= len(got) < len(records)
    assert got[-1] == records[-1]


def test_a_foreign_file_is_refused_and_a_missing_or_empty_one_has_no_records(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.wandb"
    foreign.write_bytes(b"sqlite format 3")
    with pytest.raises(NotWandbFileError, match=r"foreign\.wandb"):
        list(RecordReader(foreign).read())
    assert list(RecordReader(tmp_path / "missing").read()) == []
    (tmp_path / "empty").touch()
    assert list(RecordReader(tmp_path / "empty").read()) == []


def test_nested_values_replace_what_stands_in_their_way() -> None:
    tree: dict[str, object] = {"a": 1}
    wandb_file.put(tree, ["a", "b"], 2)
    assert json.dumps(tree) == '{"a": {"b": 2}}'
