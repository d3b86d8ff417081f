"""Staging on file systems that share blocks, with everything real but W&B: an artifact's copy costs no disk."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from client.protocol.artifacts import ROOT_NAME
from tests.standin.client import Standin
from tests.standin.fixture import standin
from tests.support.loop_disk import MKFS, extents, mounted, used_bytes
from tests.support.processes import running, wait_until
from tests.support.world import World

__all__ = ["standin"]
pytestmark = pytest.mark.leaves_files("a world ends by SIGKILL, amid whatever its worker does")

SIZE = 48_000_000
TRAINING = f"""
import client as wandb, json, os, sys, time
from tests.support.processes import wait_until
with open("m.pt", "wb") as stream:
    stream.write(os.urandom({SIZE}))

def told(word):
    print(word, flush=True)
    wait_until(lambda: os.path.exists(word), 60, word)

with wandb.init(project="p", id="r") as run:
    told("written")
    artifact = run.log_artifact("m.pt", name="m", type="model")
    begin = time.monotonic()
    assert artifact.wait_staged(30)
    staged_s = time.monotonic() - begin
    told("staged")
    with open("m.pt", "r+b") as stream:  # in place: the same blocks, were they not shared
        stream.write(os.urandom({SIZE}))
        os.fsync(stream.fileno())
    told("overwritten")
    artifact.wait(60)
    run.use_artifact("m:latest").download(root="got")
    told("downloaded")
print(json.dumps([artifact.version, staged_s]))
"""


def digest(path: Path) -> str:
    return base64.b64encode(hashlib.md5(path.read_bytes()).digest()).decode()


def places(path: Path) -> list[tuple[int, int, int]]:
    """Where a file's blocks lie, all of which another file must have as well."""
    found = extents(path)
    assert found, f"{path} has no blocks"
    assert all(extent.shared for extent in found), f"{path} shares not all of its blocks: {found}"
    return [extent[:3] for extent in found]


@pytest.mark.parametrize("kind", MKFS)
def test_on_a_file_system_that_shares_blocks_a_version_is_staged_and_downloaded_without_a_copy(
    short_path: Path, standin: Standin, kind: str
) -> None:
    with mounted(kind, short_path) as disk:
        world = World(disk, standin)
        try:
            stage_and_download(world, standin, disk)
        finally:
            world.close()


def stage_and_download(world: World, standin: Standin, disk: Path) -> None:
    work = disk / "work"
    work.mkdir()
    upload = standin.hang("upload:artifact", times=None)
    world.start_daemon()
    environment = world.environment | {"PYTHONPATH": os.fspath(Path.cwd())}
    with running([sys.executable, "-c", TRAINING], disk / "training", env=environment, cwd=work) as trainer:

        def go_on(word: str) -> None:
            (work / word).touch()

        trainer.wait_out("written", 60)
        source, original = work / "m.pt", digest(work / "m.pt")
        used_before = used_bytes(disk)
        go_on("written")

        trainer.wait_out("staged", 60)
        (copy,) = (world.spool_dir / ROOT_NAME).glob("*/*/0")
        assert copy.stat().st_ino != source.stat().st_ino
        assert places(copy) == places(source), "the copy is the source's own blocks"
        assert used_bytes(disk) - used_before < SIZE / 2, "and takes none of its own"
        go_on("staged")

        trainer.wait_out("overwritten", 60)
        assert digest(copy) == original != digest(source)
        standin.wait_for(lambda s: s.hits(upload), 60, "the upload to begin")
        standin.clear("upload:artifact")
        go_on("overwritten")

        trainer.wait_out("downloaded", 90)
        got = work / "got" / "m.pt"
        assert digest(got) == original
        assert places(got), "the download shares the blocks of the daemon's cache"
        wait_until(lambda: not list((world.spool_dir / ROOT_NAME).glob("*/*/*")), 30, "no staging left", poll_s=0.05)
        go_on("downloaded")
        assert trainer.wait(60) == 0, f"{trainer.told()}\n{world.worker_logs()}"
    version, staged_s = json.loads(trainer.out().splitlines()[-1])
    assert staged_s < 5, "sharing takes no time to speak of, on whatever machine"
    (stored,) = [a for a in standin.artifacts() if a["name"] == "m"]
    assert (version, stored["state"], stored["contents"]["m.pt"]["digest"]) == ("v0", "COMMITTED", original)
    world.wait_settled()
