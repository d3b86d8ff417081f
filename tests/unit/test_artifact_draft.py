"""An artifact before it is logged: wandb's arguments, names and errors."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import client
from client.artifacts import Artifact, ArtifactTTL
from client.artifacts.entries import b64_md5_of
from client.errors import ArtifactFinalizedError, ArtifactNotLoggedError
from client.testing import recording
from tests.support.requirements import require_module

CALLS: dict[str, Any] = {
    "a name with a slash": lambda a: a("a/b", "t"),
    "an empty name": lambda a: a("", "t"),
    "a long name": lambda a: a("x" * 129, "t"),
    "a reserved type": lambda a: a("a", "wandb-x"),
    "the type job": lambda a: a("a", "job"),
    "a run's table": lambda a: a("run-x", "run_table"),
    "metadata that is a list": lambda a: a("a", "t", metadata=[1]),
    "metadata with an infinity": lambda a: a("a", "t", metadata={"x": math.inf}),
    "metadata with many keys": lambda a: a("a", "t", metadata={str(n): n for n in range(101)}),
    "a policy": lambda a: a("a", "t").add_file(__file__, policy="some"),
    "no file": lambda a: a("a", "t").add_file("nowhere"),
    "no directory": lambda a: a("a", "t").add_dir("nowhere"),
    "a name with ..": lambda a: a("a", "t").add_file(__file__, name="../x"),
    "an absolute name": lambda a: a("a", "t").add_file(__file__, name="/x"),
    "a drive of Windows": lambda a: a("a", "t").add_file(__file__, name="C:\\x"),
    "a new file with ..": lambda a: a("a", "t").new_file("x/../../y").__enter__(),
    "no URI": lambda a: a("a", "t").add_reference("some/path"),
    "remove what is not there": lambda a: a("a", "t").remove("x"),
    "add a number": lambda a: a("a", "t").add(3, "x"),
    "aliases of a draft": lambda a: a("a", "t").aliases,
    "ttl of a draft": lambda a: a("a", "t").ttl,
    "wait for a draft": lambda a: a("a", "t").wait(),
    "a negative ttl": lambda a: setattr(a("a", "t"), "ttl", timedelta(-1)),
    "download a draft": lambda a: a("a", "t").download(),
}


@pytest.mark.parametrize("what", CALLS)
def test_what_wandb_refuses_is_refused_with_an_error_of_the_same_kind(what: str) -> None:
    wandb = require_module("wandb")
    with pytest.raises(Exception) as theirs:
        CALLS[what](wandb.Artifact)
    kind = type(theirs.value)
    if kind.__module__.startswith("wandb"):
        kind = {"ArtifactNotLoggedError": ArtifactNotLoggedError}[kind.__name__]
    with pytest.raises(kind):
        CALLS[what](Artifact)


METADATA: list[Any] = [
    None,
    {"a": 1, "b": {"c": [1, 2.5, "x", None, True]}},
    {"n": math.nan},
    {"np": np.float32(0.5), "i": np.int64(3), "a": np.arange(3)},
    '{"json": 1}',
]


@pytest.mark.parametrize("metadata", METADATA)
def test_metadata_is_kept_as_wandb_keeps_it(metadata: Any) -> None:
    wandb = require_module("wandb")
    assert Artifact("a", "t", metadata=metadata).metadata == wandb.Artifact("a", "t", metadata=metadata).metadata


@pytest.mark.leaves_files("wandb keeps the temporary folder of an artifact that was not logged")
def test_names_digests_and_sizes_are_wandbs(tmp_path: Path) -> None:
    wandb = require_module("wandb")
    (tmp_path / "d" / "deep").mkdir(parents=True)
    (tmp_path / "d" / "one").write_text("1")
    (tmp_path / "d" / "deep" / "two.txt").write_text("22")
    (tmp_path / "f.bin").write_bytes(bytes(1000))

    def filled(artifact: Any) -> Any:
        artifact.add_dir(str(tmp_path / "d"))
        artifact.add_dir(str(tmp_path / "d"), name="again")
        artifact.add_file(str(tmp_path / "f.bin"))
        artifact.add_file(str(tmp_path / "f.bin"), name="deep/other.bin")
        artifact.add_file(str(tmp_path / "f.bin"), name="tmp/x.bin", is_tmp=True)
        with artifact.new_file("new") as stream:
            stream.write("new")
        artifact.remove("again/deep")
        return artifact

    ours, theirs = filled(Artifact("a", "t")), filled(wandb.Artifact("a", "t"))
    assert sorted(ours.manifest.entries) == sorted(theirs.manifest.entries)
    for path, entry in theirs.manifest.entries.items():
        mine = ours.manifest.entries[path]
        assert (mine.digest, mine.size, mine.ref) == (entry.digest, entry.size, entry.ref), path
    assert (ours.digest, ours.size) == (theirs.digest, theirs.size)
    assert ours.get_added_local_path_name(str(tmp_path / "f.bin")) is not None


def test_a_reference_to_files_has_their_size_and_digest_and_reads_nothing_later(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "one").write_text("1")
    artifact = Artifact("a", "t")
    artifact.add_reference(f"file://{tmp_path}/d", name="refs")
    artifact.add_reference(f"file://{tmp_path}/d/one", name="unchecked", checksum=False)
    artifact.add_reference("s3://bucket/key", name="there")
    (tmp_path / "d" / "one").unlink()
    found = {path: (entry.digest, entry.size, entry.ref) for path, entry in artifact.manifest.entries.items()}
    assert found["refs/one"] == (b64_md5_of(b"1"), 1, f"file://{tmp_path}/d/one")
    assert found["unchecked"] == (b64_md5_of(f"file://{tmp_path}/d/one".encode()), 1, f"file://{tmp_path}/d/one")
    assert found["there"][1:] == (None, "s3://bucket/key")
    for wrong in ("file:///nowhere/at/all", "no/uri"):
        with pytest.raises(ValueError, match="must be"):
            artifact.add_reference(wrong)
    (tmp_path / "d" / "two").write_text("2")
    (tmp_path / "d" / "three").write_text("3")
    with pytest.raises(ValueError, match="Exceeded 1 objects"):
        artifact.add_reference(f"file://{tmp_path}/d", max_objects=1)


def test_another_content_of_the_same_name_is_refused_unless_it_may_replace(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    artifact = Artifact("a", "t")
    artifact.add_file(tmp_path / "a", name="x")
    artifact.add_file(tmp_path / "a", name="x")
    with pytest.raises(ValueError, match="Cannot add the same path twice"):
        artifact.add_file(tmp_path / "b", name="x")
    assert artifact.add_file(tmp_path / "b", name="x", overwrite=True).size == 1
    with artifact.new_file("n") as stream:
        stream.write("1")
    with pytest.raises(ValueError, match="already exists"), artifact.new_file("n"):
        pass


def test_a_link_that_leaves_the_directory_is_refused_and_one_within_it_is_followed(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "file").write_text("x")
    (folder / "inside").symlink_to("file")
    artifact = Artifact("a", "t")
    artifact.add_dir(folder)
    assert sorted(artifact.manifest.entries) == ["file", "inside"]
    (folder / "outside").symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="leaves the directory"):
        Artifact("a", "t").add_dir(folder)
    (folder / "outside").unlink()
    (folder / "up").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="leaves the directory"):
        Artifact("a", "t").add_dir(folder)


def test_after_logging_nothing_can_be_added(tmp_path: Path) -> None:
    with recording() as recorded:
        run = client.init(project="p", id="r", group="g")
        artifact = Artifact("a", "t", description="d", metadata={"x": 1})
        artifact.ttl = timedelta(days=2)
        with artifact.new_file("f") as stream:
            stream.write("x")
        assert run.log_artifact(artifact, aliases="best", tags=["t"]) is artifact
        with pytest.raises(ArtifactFinalizedError):
            artifact.add_file(__file__)
        with pytest.raises(AttributeError):
            artifact.new_file("g").__enter__()
        shared = run.upsert_artifact(__file__, name="shared")
        kept = Artifact("kept", "t")
        kept.ttl = None
        inherited = Artifact("inherited", "t")
        inherited.ttl = ArtifactTTL.INHERIT
        run.log_artifact(kept)
        run.log_artifact(inherited)
        run.finish()
    first, second, *others = recorded.run.artifacts
    assert (first.name, first.type, first.description, first.metadata) == ("a", "t", "d", '{"x": 1}')
    assert (first.aliases, first.tags, first.ttl_s, first.finalize) == (["best"], ["t"], 2 * 86400, True)
    assert (second.name, second.type, second.distributed_id, second.finalize) == ("shared", "unspecified", "g", False)
    assert [record.ttl_s for record in others] == [0, -1]
    assert shared.done


def test_the_shorthand_names_the_artifact_after_the_run_and_the_path(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_text("x")
    with recording() as recorded, client.init(project="p", id="r7") as run:
        run.log_artifact(tmp_path / "m.pt")
        run.log_model(str(tmp_path), name="model")
        run.log_artifact("s3://bucket/some/thing")
        for wrong, error in ((str(tmp_path / "nothing"), ValueError), (3, TypeError)):
            with pytest.raises(error):
                run.log_artifact(wrong)
        for aliases, tags in (("a/b", None), (["a:b"], None), (None, ["!"])):
            with pytest.raises(ValueError, match="must"):
                run.log_artifact(tmp_path / "m.pt", aliases=aliases, tags=tags)
        with pytest.raises(TypeError, match="distributed_id"):
            run.upsert_artifact(str(tmp_path / "m.pt"))
        with pytest.raises(AssertionError, match="registered model"):
            run.link_model(str(tmp_path), "entity/model")
    assert [(record.name, record.type) for record in recorded.run.artifacts] == [
        ("run-r7-m.pt", "unspecified"), ("model", "model"), ("run-r7-thing", "unspecified"),
    ]  # fmt: skip


def test_a_draft_cannot_be_logged_twice_and_a_finished_run_takes_none() -> None:
    with recording():
        run = client.init(project="p")
        artifact = Artifact("a", "t")
        run.log_artifact(artifact)
        with pytest.raises(ArtifactFinalizedError):
            run.log_artifact(artifact)
        run.finish()
        with pytest.raises(client.UsageError, match="finished"):
            run.log_artifact(Artifact("b", "t"))
