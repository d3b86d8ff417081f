"""References to S3 and GCS are looked up by the daemon, and hold what plain wandb makes of the same bucket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_artifacts import artifact_of, train, wait_unstaged
from tests.standin.client import Standin
from tests.standin.fixture import standin
from tests.support.buckets import ALONE, S3_KEYS, gcs, s3
from tests.support.world import World
from tests.support.worlds import world

__all__ = ["standin", "world"]
pytestmark = pytest.mark.leaves_files("a world ends by SIGKILL, amid whatever its worker does")

SCRIPT = """
import json, os, sys
import {module} as wandb
with wandb.init(project="p", id="{module}") as run:
    for name, uri, options in json.loads(os.environ["REFERENCES"]):
        artifact = wandb.Artifact(name + "-{module}", "dataset")
        artifact.add_reference(uri, **options)
        run.log_artifact(artifact).wait()
print(json.dumps(run.id))
"""


FAILING = """
import json, os
from pathlib import Path
import client as wandb
from client import guard
errors = []
with wandb.init(project="p", id="r") as run:
    for uri in json.loads(os.environ["URIS"]):
        run.log({"x": len(errors)})
        bad = wandb.Artifact("bad", "dataset")
        bad.add_reference(uri)
        try:
            run.log_artifact(bad).wait(100)
        except wandb.ArtifactFailedError as error:
            errors.append(str(error))
    Path("f").write_text("good")
    run.log_artifact("f", name="good", type="dataset").wait(60)
    run.log({"x": len(errors)})
    guard.raised.clear()
print(json.dumps(errors))
"""


@pytest.fixture
def buckets() -> Iterator[tuple[dict[str, str], list[Any]]]:
    """(the environment that leads there, references: name, URI and options)."""
    with s3() as (endpoint, client), gcs() as google:
        client.create_bucket(Bucket="data")
        client.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
        first = client.put_object(Bucket="data", Key="one.csv", Body=b"first")["VersionId"]
        client.put_object(Bucket="data", Key="one.csv", Body=b"second, and longer")
        old = google.put("data", "one.csv", b"first")
        google.put("data", "one.csv", b"second, and longer")
        for number in range(5):
            client.put_object(Bucket="data", Key=f"set/part/{number}.bin", Body=b"x" * (number + 1))
            google.put("data", f"set/part/{number}.bin", b"x" * (number + 1))
        references = []
        for scheme, version in (("s3", f"?versionId={first}"), ("gs", f"#{old}")):
            references += [
                (f"{scheme}-one", f"{scheme}://data/one.csv", {}),
                (f"{scheme}-named", f"{scheme}://data/one.csv", {"name": "d/renamed.csv"}),
                (f"{scheme}-version", f"{scheme}://data/one.csv{version}", {}),
                (f"{scheme}-prefix", f"{scheme}://data/set", {}),
                (f"{scheme}-below", f"{scheme}://data/set/", {"name": "below"}),
                (f"{scheme}-few", f"{scheme}://data/set", {"max_objects": 2}),
                (f"{scheme}-unread", f"{scheme}://data/set/part/3.bin", {"checksum": False}),
            ]
        references.append(("s3-bucket", "s3://data", {}))
        yield ALONE | S3_KEYS | {"AWS_ENDPOINT_URL": endpoint, "STORAGE_EMULATOR_HOST": google.endpoint}, references


def test_what_a_reference_to_a_bucket_holds_is_what_plain_wandb_makes_of_it(
    world: World, standin: Standin, buckets: tuple[dict[str, str], list[Any]], tmp_path: Path
) -> None:
    environment, references = buckets
    told = {"REFERENCES": json.dumps(references)}
    plain = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(module="wandb")],
        env=os.environ | standin.environment() | environment | told | {"WANDB_DIR": str(tmp_path)},
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert plain.returncode == 0, plain.stderr
    theirs = world.environment
    world.environment = theirs | environment
    world.start_daemon()
    world.environment = theirs  # training has neither keys nor a way to the buckets
    assert train(world, SCRIPT.format(module="client"), **told) == "client"
    for name, uri, options in references:
        expected, found = artifact_of(standin, f"{name}-wandb"), artifact_of(standin, f"{name}-client")
        assert found["contents"] == expected["contents"], (name, uri, options)
        assert found["digest"] == expected["digest"]
        assert found["contents"], "there is something to compare"
    few, version = artifact_of(standin, "s3-few-client"), artifact_of(standin, "gs-version-client")
    assert len(few["contents"]) == 2
    assert version["contents"]["one.csv"]["size"] == len(b"first")
    wait_unstaged(world)


def test_a_bucket_that_is_not_there_fails_its_artifact_with_the_reason_and_nothing_else(
    world: World, standin: Standin, buckets: tuple[dict[str, str], list[Any]]
) -> None:
    environment, _ = buckets
    theirs = world.environment
    world.environment = theirs | environment
    world.start_daemon()
    world.environment = theirs
    errors = train(world, FAILING, URIS=json.dumps(["s3://not-there/set", "gs://not-there/set"]))
    assert "the reference s3://not-there/set could not be looked up by the daemon" in errors[0]
    assert "NoSuchBucket" in errors[0]
    assert "the reference gs://not-there/set could not be looked up by the daemon" in errors[1]
    assert "does not exist" in errors[1]
    assert [a["name"] for a in standin.artifacts() if a["state"] == "COMMITTED"] == ["good"]
    assert [row["x"] for row in standin.rows("r") if "x" in row] == [0, 1, 2]
    assert world.status()["artifacts"]["counts"] == {"committed": 1, "failed": 2}
    assert world.worker_logs().count(" started directory=") == 1, "the worker was not started again for it"
    wait_unstaged(world)
