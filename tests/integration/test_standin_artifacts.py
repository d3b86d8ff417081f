"""Everything the real SDK does with artifacts, in one run against the stand-in."""

from __future__ import annotations

import json
from pathlib import Path

from tests.standin.client import Standin
from tests.standin.fixture import standin as standin
from tests.standin.sdk import Sdk

SCRIPT = """
import json, os, wandb
from datetime import timedelta
said = {}
run = wandb.init(project="p", id="r")
api = wandb.Api()
os.mkdir("d")
for name in "ab":
    open(f"d/{name}", "w").write(name * 10)
open("m.pt", "wb").write(bytes(100_000))

def written(name, file, **options):
    artifact = wandb.Artifact(name, "dataset", **options)
    with artifact.new_file(file) as stream:
        stream.write(file)
    return artifact

def latest(name):
    return api.artifact(f"standin/p/{name}:latest")

run.log_model("m.pt", name="model", aliases=["v"])
said["model"] = os.path.getsize(run.use_model("model:v"))
said["linked"] = run.link_model("m.pt", "shelf", name="model").name
run.log_artifact("d", name="folder", type="dataset").wait(20)
again = wandb.Artifact("folder", "dataset")
again.add_dir("d")
said["same"] = run.log_artifact(again, aliases=["again"]).wait(20).version

more = wandb.Artifact("folder", "dataset", incremental=True)
with more.new_file("c") as stream:
    stream.write("c")
run.log_artifact(more).wait(20)
said["incremental"] = [latest("folder").version, sorted(os.listdir(latest("folder").download()))]

draft = api.artifact("standin/p/folder:v0").new_draft()
draft.remove("a")
run.log_artifact(draft).wait(20)
said["draft"] = [draft.version, sorted(draft.manifest.entries)]

run.upsert_artifact(written("shared", "one"), distributed_id="group")
run.finish_artifact(written("shared", "two"), distributed_id="group").wait(20)
said["shared"] = sorted(latest("shared").manifest.entries)

reference = wandb.Artifact("reference", "dataset")
reference.add_reference("file://" + os.path.abspath("d"))
reference.add_reference("http://example.invalid/x", name="x", checksum=False)
run.log_artifact(reference).wait(20)
used = run.use_artifact("reference:latest")
said["reference"] = {name: entry.ref.split("/")[-1] for name, entry in used.manifest.entries.items()}

table = wandb.Artifact("table", "dataset")
table.add(wandb.Table(columns=["x"], data=[[1], [2]]), "t")
run.log_artifact(table).wait(20)
said["table"] = latest("table").get("t").data

changed = latest("shared")
changed.ttl, changed.tags, changed.description, changed.metadata["k"] = timedelta(days=3), ["q"], "what it is", 1
changed.save()
changed = latest("shared")
said["changed"] = [changed.ttl.days, changed.tags, changed.description, changed.metadata]

collection = api.artifact_collection("dataset", "standin/p/shared")
collection.description, collection.tags = "both", ["t"]
collection.save()
said["versions"] = sorted(version.version for version in api.artifacts("dataset", "standin/p/folder"))
latest("table").delete(delete_aliases=True)
said["deleted"] = api.artifact_exists("standin/p/table:v0")
run.finish()
said["used"] = sorted(artifact.name for artifact in api.run("standin/p/r").used_artifacts())
print(json.dumps(said))
"""


def test_the_sdk_s_ways_with_artifacts_all_work(standin: Standin, tmp_path: Path) -> None:
    outcome = Sdk(standin, tmp_path).run(SCRIPT, timeout_s=60)
    assert outcome.code == 0, outcome.stderr
    said = json.loads(outcome.stdout.splitlines()[-1])
    assert said == {
        "model": 100_000,
        "linked": "shelf:v0",
        "same": "v0",
        "incremental": ["v1", ["a", "b", "c"]],
        "draft": ["v2", ["b"]],
        "shared": ["one", "two"],
        "reference": {"a": "a", "b": "b", "x": "x"},
        "table": [[1], [2]],
        "changed": [3, ["q"], "what it is", {"k": 1}],
        "versions": ["v0", "v1", "v2"],
        "deleted": False,
        "used": ["model:v0", "reference:v0"],
    }
    (shared,) = [c for c in standin.collections() if c["key"] == "standin/p/shared"]
    assert (shared["description"], shared["tags"]) == ("both", ["t"])
