"""wandb's private interfaces are still what wandb_private.py takes them for. A failure here means: wandb has changed.

The worker would fall back to wandb's public interface and say so in its log; a release must not do that unnoticed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys, time
import wandb
from telemetryd.runs import predecessor, wandb_file, wandb_private

with wandb_private.started_at(1_700_000_000.25):
    run = wandb.init(mode="offline", project="p", id="known", config={"gone": 1},
                     settings=wandb.Settings(console="off", silent=True, x_transaction_log_flush_interval=0.2,
                                             x_stats_sampling_interval=1e6, x_stats_gpu_device_ids=[9999]))
import os
seen = {"cores": len(predecessor.cores_of(os.getpid()))}
published = wandb_private.Published(run)
batch = wandb_private.HistoryBatch(run)
values = {"f": 0.1, "i": 2**60, "nan": float("nan"), "inf": float("-inf"), "none": None, "s": "é\\n\\"", "b": True,
          "l": [1, None, {"x": 2.5}], "d": {"a": {"b": 1}}, "big": 2**70, "1e16": 1e16, "": 1, "_step": 99}
run.log({"_timestamp": 5.5, **values}, step=0, commit=True)
batch.add(1, 6.5, values)
batch.add(2, 7.5, {"_timestamp": 8.5, "f": 1.0, "_step": 1})
batch.send()
wandb_private.publish_output(run, "stderr", "text\\n", 1_700_000_000_123_456_789)
wandb_private.publish_summary(run, [(["best", "acc"], 0.5), (["best", "old"], 1)], [])
wandb_private.publish_summary(run, [], [["best", "old"]])
wandb_private.remove_config(run, ["gone"])
wandb_private.publish_environment(run, {"python": "CPython 3.9.1", "git": {"commit": "c0ffee"}, "memory": {"total": 5}})
open(os.path.join(run.dir, "diff.patch"), "w").write("-a")
wandb_private.publish_files(run, ["diff.patch"])
wandb_private.set_code_path(run, "code/train.py")
run.config.update({"lr": 1})
wandb_private.publish_stats(run, 1_700_000_001_000_000_007, {"gpu.0.temp": 41.5, "host.load.1m": 2})
seen["stats_can_be_published"] = wandb_private.stats_can_be_published()
run.define_metric("f", summary="max")
file = run.settings.sync_file
counted = dict(published.counts)
tally = wandb_file.Tally(file)
end = time.monotonic() + 20
while time.monotonic() < end and (tally.history < 3 or any(tally.said.get(k, 0) < n for k, n in counted.items())):
    tally.update()
    time.sleep(0.02)
seen["flushed_before_finish"] = tally.history
seen["summary"] = json.loads(json.dumps(run.summary._as_dict()["best"]))
run.finish()
wandb.teardown()
tally.update()
plain = lambda row: {k: v for k, v in row.items() if k != "_runtime"}
seen["rows"] = [(step, plain(row)) for step, row in wandb_file.history_rows(file)]
records = list(wandb_file.records(file))
seen["published"] = {k: n for k, n in counted.items()}
seen["said"] = tally.said
seen["output"] = [(r.output_raw.line, r.output_raw.output_type, r.output_raw.timestamp.ToNanoseconds())
                  for r in records if r.HasField("output_raw")]
seen["stats"] = [(r.stats.timestamp.ToNanoseconds(), {i.key: json.loads(i.value_json) for i in r.stats.item})
                 for r in records if r.HasField("stats")]
seen["removed"] = [i.key for r in records if r.HasField("config") for i in r.config.remove]
seen["started"] = [r.environment.started_at.ToNanoseconds() for r in records if r.HasField("environment")][0]
environment = records[0].environment.__class__()
for record in records:
    if record.HasField("environment"):
        environment.MergeFrom(record.environment)
seen["environment"] = [environment.python, environment.git.commit, environment.memory.total]
seen["files"] = [(item.path, item.type == item.WANDB) for r in records if r.HasField("files") for item in r.files.files]
seen["code"] = [item.value_json for r in records for item in r.config.update if "code_path" in item.nested_key]
seen["folder"] = run.dir
print("SEEN" + json.dumps(seen))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("private")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "WANDB_ERROR_REPORTING": "false", "WANDB_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.split("SEEN")[1])
    return found


def test_a_batched_row_is_stored_exactly_as_run_log_stores_it(seen: dict[str, object]) -> None:
    rows = seen["rows"]
    assert isinstance(rows, list)
    logged, batched, stamped = rows
    assert json.dumps({**logged[1], "_step": 1, "_timestamp": 6.5}, sort_keys=True) == json.dumps(
        batched[1], sort_keys=True
    )
    assert stamped == [2, {"_step": 2, "_timestamp": 8.5, "f": 1}]


def test_every_record_that_the_sdk_publishes_is_found_in_the_file(seen: dict[str, object]) -> None:
    published, said = seen["published"], seen["said"]
    assert isinstance(published, dict)
    assert isinstance(said, dict)
    for kind, count in published.items():
        if kind != "11":  # telemetry: wandb publishes some before it is counted and some at its end
            base = 1 if kind == "17" else 0
            assert said[kind] - base == count, kind
        assert said[kind] >= count
    assert {"3", "5", "12", "13"} <= set(published)


def test_the_flush_interval_is_obeyed_so_rows_are_readable_before_the_end(seen: dict[str, object]) -> None:
    assert seen["flushed_before_finish"] == 3


def test_output_keeps_its_stream_and_its_own_time(seen: dict[str, object]) -> None:
    assert seen["output"] == [["text\n", 0, 1_700_000_000_123_456_789]]


def test_nested_summary_values_are_set_and_removed_and_config_keys_removed(seen: dict[str, object]) -> None:
    assert seen["summary"] == {"acc": 0.5}
    assert seen["removed"] == ["gone"]


def test_samples_keep_their_own_time_and_wandbs_sampler_takes_one_at_the_start(seen: dict[str, object]) -> None:
    assert seen["stats_can_be_published"] is True
    stats = seen["stats"]
    assert isinstance(stats, list)
    ours = [1_700_000_001_000_000_007, {"gpu.0.temp": 41.5, "host.load.1m": 2}]
    assert ours in stats
    assert len(stats) <= 2
    assert not [key for at, values in stats if [at, values] != ours for key in values if key.startswith("gpu.")]


def test_the_start_of_the_run_is_the_given_one(seen: dict[str, object]) -> None:
    assert seen["started"] == 1_700_000_000_250_000_000


def test_metadata_that_comes_later_is_merged_and_files_are_wandbs_own(seen: dict[str, object]) -> None:
    assert seen["environment"] == ["CPython 3.9.1", "c0ffee", 5]
    assert ["diff.patch", True] in seen["files"]  # type: ignore[operator]
    assert seen["code"] == ['"code/train.py"']


def test_wandb_core_is_found_by_its_owner(seen: dict[str, object]) -> None:
    assert seen["cores"] == 1
    assert Path(str(seen["folder"])).name == "files"


FALLBACK = """
import json, os, sys
from pathlib import Path
from client.protocol.messages import RunSpec
from client.protocol.records import Config, Metric, Output, Process, Summary
from telemetryd.runs import wandb_file, wandb_private
from telemetryd.runs.media.blobs import BlobStore
from telemetryd.runs.media.builder import MediaBuilder
from telemetryd.runs.media.kinds import KINDS
from telemetryd.runs.media.table_log import TableLog
from telemetryd.runs.notes import Notebook
from telemetryd.runs.rows import FinishedRow
from telemetryd.runs.wandb_sink import WandbSink

def changed(*arguments, **options):
    raise AttributeError("wandb is another")

for name in ("HistoryBatch", "Published", "publish_output", "publish_summary", "remove_config",
             "publish_environment", "publish_files", "set_code_path"):
    setattr(wandb_private, name, changed)
here = Path.cwd()
sink = WandbSink(RunSpec("fallback", directory=str(here)), Notebook(here / "notes.json", 1, "keep"),
                 fallback_dir=here, start_time_ns=1,
                 media=MediaBuilder(BlobStore(here / "blobs"), KINDS, TableLog(here / "log")))
started = sink.open()
for step in range(0, 30, 3):
    sink.row(FinishedRow(step, 1_000_000_000 * step, {"a": step, "n": {"x": [1]}}))
sink.output(Output("stdout", "said", 1))
sink.metric(Metric("a", summary="max"))
sink.process(Process({"python": "CPython 3.9.1"}, {"diff.patch": b"-a"}))
sink.config(Config({"lr": 1}, ["lr"]))
sink.summary(Summary([(["best", "acc"], 1), (["top"], 2)], [["a"]]))
sink.finish(0)
(file,) = Path(started.directory).glob("*.wandb")
kinds = [r.WhichOneof("record_type") for r in wandb_file.records(file)]
summary = {}
for r in wandb_file.records(file):
    for item in r.summary.update:
        wandb_file.put(summary, list(item.nested_key) or [item.key], json.loads(item.value_json))
rows = [(step, row["_timestamp"]) for step, row in wandb_file.history_rows(file)]
outputs = kinds.count("output_logger")
paths = [item.path for r in wandb_file.records(file) for item in r.files.files]
print("SEEN" + json.dumps([rows, sink.confirmed_rows(), outputs, summary.get("best"), summary.get("top"), paths]))
sys.stdout.flush()
os._exit(0)
"""


FETCHED = """
import json, os, sys, time
from pathlib import Path
from client.protocol.messages import RunSpec
from telemetryd.runs import wandb_file, wandb_private
from telemetryd.runs.media.blobs import BlobStore
from telemetryd.runs.media.builder import MediaBuilder
from telemetryd.runs.media.kinds import KINDS
from telemetryd.runs.media.table_log import TableLog
from telemetryd.runs.notes import Notebook
from telemetryd.runs.wandb_sink import WandbSink

wandb_private.stats_can_be_published = lambda: False
here = Path.cwd()
sink = WandbSink(RunSpec("fetched", directory=str(here), settings={"x_stats_sampling_interval": 0.5}),
                 Notebook(here / "notes.json", 1, "keep"), fallback_dir=here, start_time_ns=1, sampled=True,
                 media=MediaBuilder(BlobStore(here / "blobs"), KINDS, TableLog(here / "log")))
started = sink.open()
(file,) = Path(started.directory).glob("*.wandb")
wanted, seen = "openmetrics.telemetryd.gpu_0_temp.0", {}
end_s = time.monotonic() + 60
while wanted not in seen and time.monotonic() < end_s:
    assert sink.samples(time.time_ns(), {"gpu.0.temp": 41.5, "disk./data.freeBytes/l:n1": 7.0})
    time.sleep(0.2)
    for record in wandb_file.records(file):
        seen.update({item.key: json.loads(item.value_json) for item in record.stats.item})
sink.finish(0)
print("SEEN" + json.dumps(seen))
sys.stdout.flush()
os._exit(0)
"""


def _run(script: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder), "WANDB_ERROR_REPORTING": "false"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert "SEEN" in done.stdout, done.stderr
    return done.stdout.split("SEEN")[1]


def test_samples_that_cannot_be_given_are_fetched_by_wandb_from_an_endpoint(short_path: Path) -> None:
    seen = json.loads(_run(FETCHED, short_path))  # wandb's sampler has a socket in TMPDIR, whose path must not be long
    assert seen["openmetrics.telemetryd.gpu_0_temp.0"] == 41.5
    assert seen["openmetrics.telemetryd.disk__data_freeBytes_l_n1.0"] == 7
    assert "memory_percent" in seen  # wandb's own sampler is on


def test_without_the_private_interfaces_the_public_ones_deliver_the_same(tmp_path: Path) -> None:
    rows, confirmed, outputs, best, top, paths = json.loads(_run(FALLBACK, tmp_path))
    assert rows == [[step, step] for step in range(0, 30, 3)]
    assert (confirmed, outputs, best, top) == (10, 1, {"acc": 1}, 2)
    assert "diff.patch" in paths
