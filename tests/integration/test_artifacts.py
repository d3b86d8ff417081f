"""Artifacts with everything real but W&B: training process, daemon, run worker, wandb-core, and the W&B stand-in."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from client.amounts import size_bytes
from client.protocol.artifacts import ROOT_NAME
from telemetryd.inbox import content
from telemetryd.inbox.content import DOWNLOADS_NAME
from telemetryd.runs import wandb_file
from tests.bench.artifacts import check, loop
from tests.standin.client import Standin
from tests.standin.fixture import standin
from tests.support.buckets import ALONE
from tests.support.processes import Spawned, running, wait_until
from tests.support.requirements import require_module
from tests.support.world import World
from tests.support.worlds import offline, world

__all__ = ["offline", "standin", "world"]
pytestmark = pytest.mark.leaves_files("a world ends by SIGKILL, amid whatever its worker does")


CHECKPOINT_SIZE = size_bytes(os.environ.get("TELEMETRYD_TEST_CHECKPOINT", "48MiB"), 4)
"""`TELEMETRYD_TEST_CHECKPOINT=2GiB` makes it the size of a real one; a test itself sees no such variable."""

VERSIONS = os.environ.get("TELEMETRYD_TEST_VERSIONS", "12x2MB")
"""`TELEMETRYD_TEST_VERSIONS=50x100MB` makes them those of a real job."""


def train(world: World, source: str, *, code: int = 0, timeout_s: float = 100, **environ: str) -> dict[str, Any]:
    """Run a script in a folder of its own; what it printed last, as JSON."""
    work = world.folder / "work"
    work.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        env=os.environ | world.environment | {"PYTHONPATH": os.fspath(Path.cwd())} | environ,
        cwd=work,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}\n{world.worker_logs()}"
    lines = done.stdout.splitlines()
    said: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return said


def b64(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def artifact_of(standin: Standin, name: str, version: int = 0) -> dict[str, Any]:
    (found,) = [a for a in standin.artifacts() if a["name"] == name and a.get("version") == version]
    return dict(found)


def staged(world: World) -> list[Path]:
    """Every file of staged content, in the spool and in the state folder."""
    roots = [world.spool_dir / ROOT_NAME, world.state_dir / ROOT_NAME]
    return [path for root in roots for path in root.rglob("*") if path.is_file()]


def wait_unstaged(world: World) -> None:
    wait_until(lambda: not staged(world), 20, lambda: f"no staging left: {staged(world)}", poll_s=0.05)


# Logging


def test_a_model_named_after_the_run_gets_its_metadata_and_aliases_and_leaves_no_staging(
    world: World, standin: Standin
) -> None:
    world.start_daemon()
    said = train(
        world,
        """
        import client as wandb, json, os
        run = wandb.init(project="p", id="r1")
        open("model.pt", "wb").write(b"x" * 1_000_000)
        artifact = wandb.Artifact(f"model-{run.id}", type="model", metadata={"loss": 0.25})
        artifact.add_file("model.pt")
        assert run.log_artifact(artifact, aliases=["best", "epoch_10"], tags=["good"]) is artifact
        assert artifact.wait_staged(30)
        open("model.pt", "wb").write(b"y" * 500_000)   # the next save: it may not reach the version
        artifact.wait(60)
        print(json.dumps([artifact.version, artifact.name, artifact.qualified_name, artifact.aliases, artifact.tags,
                          artifact.done, artifact.progress, artifact.error, artifact.state, artifact.metadata]))
        run.finish()
        """,
    )
    assert said == [
        "v0", "model-r1:v0", "standin/p/model-r1:v0", ["best", "epoch_10", "latest"], ["good"], True, 1.0, None,
        "COMMITTED", {"loss": 0.25},
    ]  # fmt: skip
    stored = artifact_of(standin, "model-r1")
    assert stored["contents"]["model.pt"]["digest"] == b64(b"x" * 1_000_000)
    assert json.loads(stored["metadata"]) == {"loss": 0.25}
    summary = standin.run("r1")["summary"]
    assert summary["_telemetryd/artifacts/committed"] == 1
    assert world.status()["artifacts"]["counts"] == {"committed": 1}
    wait_unstaged(world)


SCRIPT = """
import client as wandb, json, os
from datetime import timedelta
said = {}
run = wandb.init(project="p", id="r", group="g")
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

run.log_model("m.pt", name="model", aliases=["v"]).wait(60)
said["model"] = os.path.getsize(run.use_model("model:v"))
said["linked"] = run.link_model("m.pt", "shelf", name="model").wait(60).name
run.log_artifact("d", name="folder", type="dataset").wait(60)
again = wandb.Artifact("folder", "dataset")
again.add_dir("d")
said["same"] = run.log_artifact(again, aliases=["again"]).wait(60).version
said["shorthand"] = run.log_artifact("m.pt", type="file").wait(60).name

more = wandb.Artifact("folder", "dataset", incremental=True)
with more.new_file("c") as stream:
    stream.write("c")
run.log_artifact(more).wait(60)
said["incremental"] = [latest("folder").version, sorted(os.listdir(latest("folder").download()))]

draft = api.artifact("standin/p/folder:v0").new_draft()
draft.remove("a")
with draft.new_file("d/e") as stream:
    stream.write("e")
run.log_artifact(draft).wait(60)
said["draft"] = [draft.version, sorted(draft.manifest.entries)]

run.upsert_artifact(written("shared", "one"))
run.finish_artifact(written("shared", "two")).wait(60)
said["shared"] = sorted(latest("shared").manifest.entries)

reference = wandb.Artifact("reference", "dataset")
reference.add_reference("file://" + os.path.abspath("d"))
reference.add_reference("http://example.invalid/x", name="x", checksum=False)
run.log_artifact(reference).wait(60)
used = run.use_artifact("reference:latest")
said["reference"] = {name: entry.ref.split("/")[-1] for name, entry in used.manifest.entries.items()}
said["local reference"] = open(used.get_entry("a").download("refs")).read()

drop = written("dropped", "one")
with drop.new_file("two/three") as stream:
    stream.write("x")
drop.remove("two")
drop.ttl = timedelta(days=3)
run.log_artifact(drop).wait(60)
said["removed"] = sorted(latest("dropped").manifest.entries)

changed = latest("shared")
changed.ttl, changed.tags, changed.description, changed.metadata["k"] = timedelta(days=3), ["q"], "what it is", 1
changed.aliases.append("named")
changed.save()
changed = latest("shared")
said["changed"] = [changed.ttl.days, changed.tags, changed.description, changed.metadata, changed.aliases]
said["versions"] = sorted(version.version for version in api.artifacts("dataset", "standin/p/folder"))
latest("dropped").delete(delete_aliases=True)
said["deleted"] = api.artifact_exists("standin/p/dropped:v0")
said["file"] = open(latest("model").file("one")).read(3)
run.finish()
print(json.dumps(said))
"""


def test_every_way_of_wandb_with_artifacts_works_without_a_key_in_training(world: World, standin: Standin) -> None:
    world.start_daemon()
    said = train(world, SCRIPT, WANDB_API_KEY="")
    assert said == {
        "model": 100_000,
        "linked": "shelf:v0",
        "same": "v0",
        "shorthand": "run-r-m.pt:v0",
        "incremental": ["v1", ["a", "b", "c"]],
        "draft": ["v2", ["b", "d/e"]],
        "shared": ["one", "two"],
        "reference": {"a": "a", "b": "b", "x": "x"},
        "local reference": "a" * 10,
        "removed": ["one"],
        "changed": [3, ["q"], "what it is", {"k": 1}, ["latest", "named"]],
        "versions": ["v0", "v1", "v2"],
        "deleted": False,
        "file": "\0\0\0",
    }
    used = {a["name"] for a in standin.artifacts() if a["used_by"]}
    assert used == {"model", "reference"}
    assert artifact_of(standin, "folder")["run"] == "r"
    assert standin.run("r")["exit_code"] == 0
    wait_unstaged(world)


class _Bucket(BaseHTTPRequestHandler):
    """A file on the web, with an ETag."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("ETag", '"of-the-web"')
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def test_what_a_reference_names_is_looked_up_by_the_worker_or_fails_the_artifact_loudly(
    world: World, standin: Standin
) -> None:
    world.environment |= ALONE
    world.start_daemon()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Bucket) as web:
        serving = threading.Thread(target=web.serve_forever)
        serving.start()
        try:
            said = train(
                world,
                f"""
                import client as wandb, json
                from client import guard
                errors = []
                with wandb.init(project="p", id="r") as run:
                    good = wandb.Artifact("good", "dataset")
                    good.add_reference("http://127.0.0.1:{web.server_port}/data.csv")
                    run.log_artifact(good).wait(60)
                    for uri in ("s3://no-such-bucket/key", "gs://no-such-bucket/key"):
                        bad = wandb.Artifact("bad", "dataset")
                        bad.add_reference(uri)
                        try:
                            run.log_artifact(bad).wait(100)
                        except wandb.ArtifactFailedError as error:
                            errors.append(str(error))
                    guard.raised.clear()
                print(json.dumps(errors))
                """,
            )
        finally:
            web.shutdown()
            serving.join()
    entry = artifact_of(standin, "good")["contents"]["data.csv"]
    assert (entry["digest"], entry["size"]) == ("of-the-web", 5)
    assert len(said) == 2, "what cannot be looked up never becomes a version"
    for uri, error in zip(("s3://no-such-bucket/key", "gs://no-such-bucket/key"), said, strict=True):
        assert f"the reference {uri} could not be looked up by the daemon" in error
        assert "credentials" in error.split("with the credentials it has:")[1] or "pip install wandb[" in error
    assert [a["name"] for a in standin.artifacts() if a["state"] == "COMMITTED"] == ["good"]
    wait_unstaged(world)


def test_a_data_set_is_logged_by_one_run_and_used_by_another(world: World, standin: Standin) -> None:
    world.start_daemon()
    train(
        world,
        """
        import client as wandb
        with open("train.csv", "w") as stream:
            stream.write("a,b\\n1,2\\n")
        with wandb.init(project="p", id="maker", job_type="data") as run:
            artifact = wandb.Artifact("digits", type="dataset", description="numbers")
            artifact.add_file("train.csv")
            run.log_artifact(artifact)
        """,
    )
    said = train(
        world,
        """
        import client as wandb, json, os
        with wandb.init(project="p", id="user") as run:
            artifact = run.use_artifact("standin/p/digits:latest")
            folder = artifact.download(root="./tmp")
            print(json.dumps([folder, open("tmp/train.csv").read(), artifact.type, artifact.description,
                              artifact.get_path("train.csv").size]))
        """,
    )
    assert said == ["./tmp", "a,b\n1,2\n", "dataset", "numbers", 8]
    assert artifact_of(standin, "digits")["used_by"] == ["standin/p/user"]


def test_the_api_downloads_without_a_run(world: World) -> None:
    world.start_daemon()
    said = train(
        world,
        """
        import client as wandb, json
        with wandb.init(project="p") as run:
            artifact = wandb.Artifact("a", "dataset")
            with artifact.new_file("deep/er.txt") as stream:
                stream.write("hello")
            run.log_artifact(artifact)
        api = wandb.Api()
        artifact = api.artifact("standin/p/a:latest")
        folder = artifact.download()
        artifact.verify()
        print(json.dumps([folder, open(folder + "/deep/er.txt").read(), wandb.run is None]))
        """,
    )
    assert said == ["./artifacts/a:v0", "hello", True]


def test_media_in_an_artifact_are_what_wandb_makes_of_them_and_are_read_back(world: World, standin: Standin) -> None:
    world.start_daemon()
    said = train(
        world,
        """
        import client as wandb, json, numpy as np
        with wandb.init(project="p", id="r") as run:
            artifact = wandb.Artifact("pictures", "dataset")
            pixels = np.arange(3 * 64 * 64, dtype=np.uint8).reshape(64, 64, 3)
            entry = artifact.add(wandb.Image(pixels, caption="c"), "one")
            pixels[:] = 0   # too late to matter
            run.log_artifact(artifact).wait(60)
            image = run.use_artifact("pictures:latest").get("one")
            print(json.dumps([entry.path, type(image).__name__, artifact.get("nothing")]))
        """,
    )
    assert said == ["one.image-file.json", "Image", None]
    names = sorted(artifact_of(standin, "pictures")["contents"])
    assert names[-1] == "one.image-file.json"
    assert names[0].startswith("media/images/")
    wait_unstaged(world)
    assert not list((world.state_dir / "wandb" / "data").rglob("tmp*")), "what wandb staged for the run is gone"


def test_a_table_with_pictures_in_an_artifact_is_read_back(world: World) -> None:
    world.start_daemon()
    said = train(
        world,
        """
        import client as wandb, json, numpy as np
        with wandb.init(project="p", id="r") as run:
            artifact = wandb.Artifact("table", "dataset")
            pictures = [wandb.Image(np.full((8, 8, 3), shade, np.uint8)) for shade in (0, 200)]
            table = wandb.Table(columns=["x", "picture"], data=[[1, pictures[0]], [2.5, pictures[1]]])
            entry = artifact.add(table, "t")
            run.log_artifact(artifact).wait(60)
        back = wandb.Api().artifact("standin/p/table:latest")["t"]
        print(json.dumps([entry.path, back.columns, [[row[0], type(row[1]).__name__] for row in back.data]]))
        """,
    )
    assert said == ["t.table.json", ["x", "picture"], [[1, "Image"], [2.5, "Image"]]]
    wait_unstaged(world)


def test_offline_the_artifact_is_in_the_file_with_its_content_and_wandb_sync_uploads_it(
    offline: World, standin: Standin, tmp_path: Path
) -> None:
    offline.start_daemon()
    said = train(
        offline,
        """
        import client as wandb, json, os
        with wandb.init(project="p", id="off") as run:
            open("m.pt", "wb").write(b"z" * 400_000)
            artifact = run.log_artifact("m.pt", name="model", type="model", aliases=["best"])
            artifact.wait(60)
            os.remove("m.pt")
            try:
                run.use_artifact("model:latest")
            except TypeError as error:
                print(json.dumps([artifact.done, artifact.is_draft(), artifact._upload.state, str(error)]))
        """,
    )
    assert said == [True, True, "recorded", "Cannot use artifact when in offline mode."]
    offline.wait_settled()
    wait_unstaged(offline)
    assert offline.status()["artifacts"]["counts"] == {"recorded": 1}
    (folder,) = (offline.runs_dir / "wandb").glob("offline-run-*-off")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= standin.environment() | {"WANDB_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "-e", "standin", folder],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    stored = standin.wait_for(lambda s: [a for a in s.artifacts() if a["state"] == "COMMITTED"], 20)
    assert [(a["name"], a["aliases"], a["contents"]["m.pt"]["digest"]) for a in stored] == [
        ("model", ["best", "latest"], b64(b"z" * 400_000))
    ]


# What goes wrong


def test_a_file_that_is_written_to_while_it_is_staged_fails_the_artifact_loudly(world: World, standin: Standin) -> None:
    world.start_daemon()
    said = train(
        world,
        """
        import client as wandb, json
        from client import guard, Settings
        from client.artifacts import sources
        errors = []
        run = wandb.init(project="p", id="r", settings=Settings(on_error=lambda where, what: errors.append(where)))
        open("m.pt", "wb").write(bytes(1_000_000))
        copy = sources._copy
        def slow_copy(source, target, step):
            copy(source, target, step)
            open("m.pt", "r+b").write(b"torn")   # the next save begins before the copy is complete
        sources._copy = slow_copy
        artifact = run.log_artifact("m.pt", name="m", type="model")
        try:
            artifact.wait(60)
        except ValueError as error:
            said = [str(error), artifact.error, artifact.staged, artifact.done]
        guard.raised.clear()
        run.finish()
        print(json.dumps([*said, errors]))
        """,
    )
    message, error, is_staged, done, errors = said
    assert "source changed" in message
    assert "wait for `artifact.staged`" in error
    assert (is_staged, done, errors) == (False, True, ["artifact"])
    assert standin.artifacts() == []
    summary = standin.run("r")["summary"]
    assert summary["_telemetryd/artifacts/failed"] == 1
    assert "source changed" in summary["_telemetryd/artifact_errors/m"]
    (listed,) = world.status()["artifacts"]["listed"]
    assert (listed["name"], listed["state"]) == ("m", "failed")
    wait_unstaged(world)


def test_what_wandb_and_the_server_refuse_reaches_the_handle_the_status_and_the_summary(
    world: World, standin: Standin
) -> None:
    world.start_daemon()
    standin.graphql_error("CommitArtifact", message="no more room")
    said = train(
        world,
        """
        import client as wandb, json
        from client import guard
        told = []
        settings = wandb.Settings(on_error=lambda where, what: told.append([where, str(what)]))
        run = wandb.init(project="p", id="r", settings=settings)
        artifact = wandb.Artifact("m", "model")
        with artifact.new_file("a") as stream:
            stream.write("a")
        run.log_artifact(artifact)
        try:
            artifact.wait(90)
        except wandb.ArtifactFailedError as error:
            said = [str(error), artifact.error]
        guard.raised.clear()
        run.finish()
        print(json.dumps([*said, *told]))
        """,
    )
    assert len(said) == 3, said
    assert all("no more room" in each for each in said[:2])
    assert said[2][0] == "artifact"
    assert "no more room" in said[2][1]
    assert "no more room" in standin.run("r")["summary"]["_telemetryd/artifact_errors/m"]
    assert world.status()["artifacts"]["counts"] == {"failed": 1}
    assert world.status()["counters"]["artifacts_failed"] == 1
    wait_unstaged(world)


def test_what_is_not_there_or_has_another_type_is_a_value_error(world: World) -> None:
    world.start_daemon()
    said = train(
        world,
        """
        import client as wandb, json
        said = []
        with wandb.init(project="p") as run:
            artifact = wandb.Artifact("a", "dataset")
            with artifact.new_file("a") as stream:
                stream.write("a")
            run.log_artifact(artifact).wait(60)
            for name, type in (("nothing:latest", None), ("a:v9", None), ("a:latest", "model")):
                try:
                    run.use_artifact(name, type=type)
                except ValueError as error:
                    said.append(str(error))
        print(json.dumps(said))
        """,
    )
    assert len(said) == 3
    assert "'a:v9' not found" in said[1]
    assert "model" in said[2]


def test_without_a_daemon_staging_goes_on_and_what_needs_w_and_b_says_who_does_not_answer(
    world: World, standin: Standin
) -> None:
    said = train(
        world,
        """
        import client as wandb, json
        run = wandb.init(project="p", id="r")
        artifact = wandb.Artifact("m", "model")
        open("a", "wb").write(bytes(500_000))
        artifact.add_file("a")
        run.log_artifact(artifact)
        assert artifact.wait_staged(30)
        said = []
        for call in (lambda: artifact.wait(0.2), lambda: run.use_artifact("x:latest", timeout=0.5),
                     lambda: wandb.Api().artifact("e/p/x:latest")):
            try:
                call()
            except wandb.CommError as error:
                said.append(type(error).__name__)
        run.finish()
        print(json.dumps(said))
        """,
    )
    assert said == ["WaitTimeoutError", "NoAnswerError", "NoAnswerError"]
    world.start_daemon()  # adopts the journal, and finds the content beside it
    world.wait_settled()
    assert artifact_of(standin, "m")["contents"]["a"]["digest"] == b64(bytes(500_000))
    wait_unstaged(world)


# Downloads


def test_a_version_is_downloaded_once_for_many_processes_and_a_damaged_file_is_noticed(
    world: World, standin: Standin
) -> None:
    world.start_daemon()
    train(
        world,
        """
        import client as wandb, os
        with wandb.init(project="p") as run:
            artifact = wandb.Artifact("big", "dataset")
            for name in ("one", "two"):
                with artifact.new_file(name, "wb") as stream:
                    stream.write(name.encode() * 300_000)
            run.log_artifact(artifact)
        """,
    )
    fetch = (
        "import client as wandb; print('\\\"' + wandb.Api().artifact('standin/p/big:latest').download('here') + '\\\"')"
    )
    work = world.folder / "work"
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", fetch],
            env=os.environ | world.environment | {"PYTHONPATH": os.fspath(Path.cwd())},
            cwd=work,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for rank in ranks:
        out, err = rank.communicate(timeout=90)
        assert (rank.returncode, out.strip()) == (0, '"here"'), err
    assert sorted(path.name for path in (work / "here").iterdir()) == ["one", "two"]
    assert (work / "here" / "two").read_bytes() == b"two" * 300_000
    downloads = [r for r in standin.requests("download") if "/storage/manifest/" not in r["path"]]
    assert len(downloads) == 2, downloads
    (work / "here" / "one").write_bytes(b"damaged")
    assert train(world, fetch) == "here"
    assert (work / "here" / "one").read_bytes() == b"one" * 300_000
    assert not list(work.glob("**/*.partial"))
    assert len(list((world.state_dir / DOWNLOADS_NAME).iterdir())) == 1


# Without a disk in common


def elsewhere(world: World) -> dict[str, str]:
    """A training process whose spool the daemon does not have."""
    return {"TELEMETRYD_SPOOL_DIR": str(world.folder / "other-spool")}


def test_without_a_disk_in_common_the_content_goes_over_the_wire_and_comes_back_over_it(
    world: World, standin: Standin
) -> None:
    world.start_daemon()
    said = train(
        world,
        """
        import client as wandb, json, os
        from pathlib import Path
        from client.artifacts import fetch
        fetch._shared = lambda folder, token: None   # as if the cache lay on another machine
        run = wandb.init(project="p", id="r")
        content = os.urandom(3_000_001)
        Path("m.pt").write_bytes(content)
        Path("empty").touch()
        artifact = wandb.Artifact("m", "model")
        artifact.add_file("m.pt")
        artifact.add_file("empty")
        run.log_artifact(artifact)
        for step in range(200):
            run.log({"loss": step})
        artifact.wait(60)
        folder = run.use_artifact("m:latest").download("back")
        same = Path("back/m.pt").read_bytes() == content
        spool = Path(os.environ["TELEMETRYD_SPOOL_DIR"])
        run.finish()
        print(json.dumps([same, sorted(os.listdir("back")), [str(p) for p in spool.rglob("*") if p.is_file()]]))
        """,
        **elsewhere(world),
    )
    assert said == [True, ["empty", "m.pt"], []]
    assert standin.row_count("r") == 200
    counters = world.status()["counters"]
    assert counters["content_bytes_received"] > 3_000_000
    wait_unstaged(world)


def test_content_on_the_wire_goes_on_where_it_was_after_a_kill_of_the_daemon(world: World, standin: Standin) -> None:
    world.start_daemon()
    script = """
        import client as wandb, json, os, hashlib, base64
        from client import limits, guard
        from client.artifacts import courier
        courier.ARTIFACT_CREDIT_CHUNKS = 1   # slow enough to be killed in the middle
        run = wandb.init(project="p", id="r")
        content = os.urandom(20_000_000)
        open("m.pt", "wb").write(content)
        artifact = run.log_artifact("m.pt", name="m", type="model")
        artifact.wait(100)
        guard.raised.clear()
        run.finish()
        print(json.dumps(base64.b64encode(hashlib.md5(content).digest()).decode()))
    """
    with _running(world, script, **elsewhere(world)) as trainer:
        partial = world.state_dir / ROOT_NAME
        wait_until(lambda: sum(p.stat().st_size for p in partial.rglob("0")) > 2_000_000, 60, trainer.told)
        world.kill_daemon()
        (kept,) = [p.stat().st_size for p in partial.rglob("0")]
        assert kept > 2_000_000
        world.start_daemon()
        assert trainer.wait(90) == 0, trainer.told()
        digest = json.loads(trainer.out().splitlines()[-1])
    assert artifact_of(standin, "m")["contents"]["m.pt"]["digest"] == digest
    received = world.status()["counters"]["content_bytes_received"]
    assert received < 20_100_000 - kept + 1_000_000, "what had come was not sent again"
    wait_unstaged(world)


def test_push_brings_the_content_of_dead_processes_on_another_machine(world: World, standin: Standin) -> None:
    script = """
        import client as wandb, os, signal
        run = wandb.init(project="p", id=os.environ["NAME"])
        open("m.pt", "wb").write(b"m" * 2_000_000)
        run.log_artifact("m.pt", name=os.environ["NAME"], type="model").wait_staged(60)
        run.log({"loss": 1})
        if "FINISH" in os.environ:
            run.finish()
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    """
    there = elsewhere(world) | {"TELEMETRYD_ENDPOINT": f"ipc://{world.folder}/none.sock"}
    train(world, script, code=-signal.SIGKILL, NAME="killed", **there)
    train(world, script, NAME="ended", FINISH="1", **there)
    world.start_daemon()
    world.push(**elsewhere(world))
    world.wait_settled()
    for name in ("killed", "ended"):
        assert artifact_of(standin, name)["contents"]["m.pt"]["digest"] == b64(b"m" * 2_000_000)
    assert not [path for path in (world.folder / "other-spool").rglob("*") if path.is_file()]
    wait_unstaged(world)


def test_at_the_cap_a_new_artifact_fails_and_says_so_on_either_side(world: World) -> None:
    world.start_daemon("--artifact-max", "1MB")
    script = """
        import client as wandb, json
        from client import guard
        run = wandb.init(project="p")
        open("m.pt", "wb").write(bytes(2_000_000))
        artifact = run.log_artifact("m.pt", name="m", type="model")
        try:
            artifact.wait(60)
        except ValueError as error:
            print(json.dumps(str(error)))
        guard.raised.clear()
        run.finish()
    """
    said = train(world, script, **elsewhere(world))
    assert "the daemon's staging is full" in said
    assert "artifact_max_bytes" in said
    said = train(world, script, TELEMETRYD_ARTIFACT_MAX_BYTES="1MB")
    assert "staging is full" in said
    assert "TELEMETRYD_ARTIFACT_MAX_BYTES" in said
    wait_unstaged(world)


@contextlib.contextmanager
def _running(world: World, source: str, **environ: str) -> Iterator[Spawned]:
    work = world.folder / "work"
    work.mkdir(exist_ok=True)
    environment = world.environment | {"PYTHONPATH": os.fspath(Path.cwd())} | environ
    with running([sys.executable, "-c", textwrap.dedent(source)], world.folder / "t", env=environment, cwd=work) as it:
        yield it


def test_an_upload_that_lasts_long_is_waited_for_and_said_to_go_on(world: World, standin: Standin) -> None:
    world.start_daemon()
    standin.slow("upload:artifact", 12, times=1)
    said = train(
        world,
        """
        import client as wandb, json
        with wandb.init(project="p", id="r") as run:
            artifact = wandb.Artifact("a", "dataset")
            with artifact.new_file("a") as stream:
                stream.write("a")
            run.log_artifact(artifact)
            for step in range(20):
                run.log({"loss": step})
            artifact.wait(60)
            print(json.dumps(artifact.version))
        """,
    )
    assert said == "v0"
    assert len(standin.requests("upload:artifact")) == 2, "the file and the manifest, once each"


# Killed in the middle


@pytest.mark.parametrize("victim", ["daemon", "worker", "core", "trainer"])
def test_a_kill_in_the_middle_of_an_upload_leaves_the_version_committed_once(
    world: World, standin: Standin, victim: str
) -> None:
    world.start_daemon()
    held = standin.hang("upload:artifact")
    script = """
        import client as wandb, os
        from client import guard
        run = wandb.init(project="p", id="r")
        open("m.pt", "wb").write(b"m" * 2_000_000)
        artifact = run.log_artifact("m.pt", name="m", type="model", aliases=["best"])
        for step in range(50):
            run.log({"loss": step})
        artifact.wait_staged()
        os.remove("m.pt")
        print("staged", flush=True)
        artifact.wait(100)
        guard.raised.clear()
        run.finish()
    """
    with _running(world, script) as trainer:
        trainer.wait_out("staged", 60)
        standin.wait_for(lambda s: s.hits(held), 60, "the upload")
        if victim == "trainer":
            trainer.kill()
        elif victim == "daemon":
            world.kill_daemon()
        else:
            world.signal(victim, signal.SIGKILL)
        standin.clear()
        if victim == "daemon":
            world.start_daemon()
        if victim != "trainer":
            assert trainer.wait(100) == 0, f"{trainer.told()}\n{world.worker_logs()}"
    world.wait_settled()
    assert [a["state"] for a in standin.artifacts() if a["state"] == "COMMITTED"] == ["COMMITTED"]
    stored = artifact_of(standin, "m")
    assert (stored["aliases"], stored["contents"]["m.pt"]["digest"]) == (["best", "latest"], b64(b"m" * 2_000_000))
    assert standin.row_count("r") == 50
    assert world.status()["artifacts"]["counts"] == {"committed": 1}
    wait_unstaged(world)


def test_a_trainer_killed_while_it_stages_leaves_an_artifact_that_failed_for_that(
    world: World, standin: Standin
) -> None:
    world.start_daemon()
    script = """
        import client as wandb, os, signal
        from client.artifacts import sources
        copy = sources._copy
        def dies(source, target, step):
            run.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        sources._copy = dies
        run = wandb.init(project="p", id="r")
        open("m.pt", "wb").write(bytes(2_000_000))
        run.log_artifact("m.pt", name="m", type="model").wait()
    """
    train(world, script, code=-signal.SIGKILL)
    world.wait_settled()
    (listed,) = world.status()["artifacts"]["listed"]
    assert (listed["name"], listed["state"], listed["error"]) == (
        "m", "failed", "training ended while it was being staged",
    )  # fmt: skip
    assert standin.artifacts() == []
    assert "training ended" in standin.run("r")["summary"]["_telemetryd/artifact_errors/m"]
    wait_unstaged(world)
    wait_until(lambda: not list((world.spool_dir / ROOT_NAME).iterdir()), 20, "the session's folder to go")


@pytest.mark.parametrize("victim", ["daemon", "trainer"])
def test_a_kill_in_the_middle_of_a_download_leaves_nothing_that_looks_complete(
    world: World, standin: Standin, victim: str
) -> None:
    world.start_daemon()
    train(
        world,
        """
        import client as wandb
        with wandb.init(project="p") as run:
            open("data", "wb").write(b"d" * 3_000_000)
            run.log_artifact("data", name="a", type="dataset")
        """,
    )
    held = standin.hang("download", skip=1)  # the manifest passes
    script = """
        import client as wandb
        print(wandb.Api().artifact("standin/p/a:latest").download("here", timeout=100))
    """
    work = world.folder / "work"
    with _running(world, script) as trainer:
        standin.wait_for(lambda s: s.hits(held), 60, "the download")
        assert not (work / "here").exists()
        if victim == "daemon":
            world.kill_daemon()
        else:
            trainer.kill()
        standin.clear()
        if victim == "daemon":
            world.start_daemon()
            assert trainer.wait(100) == 0, trainer.told()
        else:
            assert not (work / "here").exists()
            train(world, script.replace("print(", "print('0') or ("))
    assert (work / "here" / "data").read_bytes() == b"d" * 3_000_000
    assert not list(world.state_dir.glob(f"{DOWNLOADS_NAME}/*/*.partial*"))
    assert [p.name for p in work.iterdir() if "partial" in p.name] == []


def test_offline_a_kill_after_recording_records_the_artifact_once(offline: World) -> None:
    offline.start_daemon()
    script = """
        import client as wandb, sys
        from client import guard
        run = wandb.init(project="p", id="off")
        open("m.pt", "wb").write(b"z" * 400_000)
        run.log_artifact("m.pt", name="model", type="model").wait(60)
        print("recorded", flush=True)
        while "go" not in open("go").read():
            run.log({"a": 1})
        guard.raised.clear()
        run.finish()
    """
    (offline.folder / "work").mkdir(exist_ok=True)
    go = offline.folder / "work" / "go"
    go.write_text("")
    with _running(offline, script) as trainer:
        trainer.wait_out("recorded", 60)
        offline.kill_daemon()
        offline.start_daemon()
        go.write_text("go")
        assert trainer.wait(60) == 0, trainer.told()
    offline.wait_settled()
    files = list(offline.runs_dir.glob("wandb/offline-run-*/*.wandb"))
    recorded = [r for file in files for r in wandb_file.records(file) if r.WhichOneof("record_type") == "artifact"]
    assert len(recorded) == 1
    assert len(list(offline.runs_dir.glob("wandb/artifacts/off/*"))) == 1


# What it costs


def test_of_a_checkpoint_saved_over_the_same_path_again_and_again_no_version_is_torn(
    world: World, standin: Standin
) -> None:
    """tests/bench/artifacts.py measures it."""
    require_module("torch")
    world.start_daemon()
    measured = loop(world, "client", CHECKPOINT_SIZE, saves=4, period_s=1.0)
    check(standin, "client", measured)
    # The machine of a test may be busy: the benchmark holds the 5 ms and the 1 ms on a quiet one.
    assert sorted(measured["calls_s"])[len(measured["calls_s"]) // 2] < 0.05
    assert sorted(measured["log_ns"])[len(measured["log_ns"]) // 2] < 1e6
    wait_unstaged(world)


def test_many_versions_and_their_downloads_take_no_more_of_the_disk_than_the_caps(
    world: World, standin: Standin
) -> None:
    """Caps of three versions for staging and of two and a half for downloads, and many more versions than that."""
    count, _, text = VERSIONS.partition("x")
    size = size_bytes(text, 1 << 20)
    staging, cache = 3 * size, 5 * size // 2
    world.start_daemon("--artifact-max", str(staging), "--artifact-cache-max", str(cache))
    version, most = train(
        world,
        f"""
        import client as wandb, json, os, shutil
        from pathlib import Path
        from tests.support.disk import used
        spool, state = Path(os.environ["TELEMETRYD_SPOOL_DIR"]), Path(os.environ["TELEMETRYD_STATE_DIR"])
        places = {{"staging": spool / "artifacts", "downloads": state / "downloads", "wandb": state / "wandb"}}
        most = dict.fromkeys(places, 0)
        def look():
            for name, place in places.items():
                most[name] = max(most[name], used(place))
        run = wandb.init(project="p", id="r")
        last = None
        for version in range({int(count)}):
            with open("m.pt", "wb") as stream:
                stream.write(os.urandom(1 << 20))
                stream.truncate({size})
            last = run.log_artifact("m.pt", name="m", type="model")
            last.wait_staged(120)
            look()
            last.wait(120)
            look()
            run.use_artifact("m:latest").download("back", timeout=120)
            look()
            shutil.rmtree("back")
            for folder in places["downloads"].iterdir():
                os.utime(folder, (1, 1))   # as if it had been asked for a while ago
        run.finish()
        print(json.dumps([last.version, most]))
        """,
        timeout_s=110 if int(count) <= 12 else 1800,
        TELEMETRYD_ARTIFACT_MAX_BYTES=str(staging),
    )
    print(f"\n{VERSIONS}: at most {most}, caps {staging} and {cache}")
    assert version == f"v{int(count) - 1}"
    assert size <= most["staging"] <= staging
    assert 2 * size <= most["downloads"] <= cache
    assert most["wandb"] < 1_000_000, "wandb stages and caches nothing of its own"
    wait_unstaged(world)
    assert content.size_of(world.state_dir) <= cache + 10_000_000
