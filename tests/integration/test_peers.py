"""Over ipc a peer is who the kernel says: a second user's process at the daemon's socket, all real but W&B."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.journal.reader import read_spool
from client.protocol.artifacts import MANIFEST_NAME, ROOT_NAME, Entry, Manifest, encode_manifest
from telemetryd.inbox.reader import InboxReader
from telemetryd.inbox.store import FILE_NAME
from tests.integration.test_artifacts import artifact_of, b64, train, wait_unstaged
from tests.standin.client import Standin
from tests.standin.fixture import standin
from tests.support.processes import wait_until
from tests.support.requirements import require
from tests.support.world import World

__all__ = ["standin"]
pytestmark = pytest.mark.leaves_files("a world ends by SIGKILL, amid whatever its worker does")

NOBODY = 65534
SESSION, ARTIFACT = "5e" * 16, "a1" * 16

AS_NOBODY = """
import importlib, os, pkgutil
import client as wandb, client
import hashlib, json, socket
from pathlib import Path
from client import guard
for found in pkgutil.walk_packages(client.__path__, "client."):  # nobody may not enter where Python lies
    if not found.name.startswith("client._"):
        importlib.import_module(found.name)
import asyncio.base_events, encodings.idna, subprocess, tempfile
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
"""


@pytest.fixture
def shared(standin: Standin) -> Iterator[World]:
    """A world whose socket and spool are open to every user of the machine."""
    require(os.geteuid() == 0, "root, to be a second user")
    folder = Path(tempfile.mkdtemp(prefix="tdp-", dir="/tmp"))
    folder.chmod(0o711)
    world = World(folder, standin)
    for name in ("spool", f"spool/{ROOT_NAME}", "work", "runs"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name).chmod(0o1777)
    world.start_daemon()
    (folder / "d.sock").chmod(0o777)
    yield world
    world.close()
    shutil.rmtree(folder)


def test_another_user_s_artifact_is_taken_over_and_paths_that_it_names_are_not_followed(
    shared: World, standin: Standin
) -> None:
    secret = shared.folder / "secret"
    secret.mkdir()  # that nobody may read it does not matter: it can be guessed
    (secret / "key").write_bytes(b"k" * 600_000)
    secret.chmod(0o700)
    said = train(
        shared,
        AS_NOBODY
        + f"""
folder = Path({str(secret)!r})
run = wandb.init(project="p", id="r")
content = b"n" * 3_000_000
Path("mine").write_bytes(content)
artifact = run.log_artifact("mine", name="m", type="model").wait(60)
from client.protocol.records import Saved
run._stream.record(Saved("key", "end", [str(folder / "key"), {secret.stat().st_dev}, {secret.stat().st_ino}]))
run.save("mine", policy="now")
run.finish()
print(json.dumps([artifact.version, os.getuid(), os.access(folder / "key", os.R_OK)]))
""",
    )
    assert said == ["v0", NOBODY, False]
    assert artifact_of(standin, "m")["contents"]["mine"]["digest"] == b64(b"n" * 3_000_000)
    with InboxReader(shared.state_dir / FILE_NAME) as reader:
        assert reader.peers(1) == {NOBODY}
    shared.wait_settled()
    assert "mine" in standin.files("r")
    assert "key" not in standin.files("r"), "what the daemon may read, and its peer may not"
    assert not list((shared.runs_dir / "wandb").glob("run-*")), "no folder is made where another user says"
    (run,) = shared.status()["runs"]
    assert run["media_lost"] == {"file_missing": 1}
    wait_unstaged(shared)


def test_a_claim_on_another_user_s_content_fails_with_its_reason_and_reads_nothing(
    shared: World, standin: Standin
) -> None:
    """The worst case: nobody speaks for a session that root has staged for, and knows the digest."""
    root = shared.spool_dir / ROOT_NAME / SESSION / ARTIFACT
    root.mkdir(parents=True)
    manifest = encode_manifest(Manifest("n", [Entry("key", True, 6)]))
    (root / MANIFEST_NAME).write_bytes(manifest)
    (root / "0").write_bytes(b"secret")
    train(
        shared,
        AS_NOBODY
        + f"""
from client import api
from client.protocol.records import Artifact, Staged
api.token_hex = lambda size_bytes: {SESSION!r}
run = wandb.init(project="p", id="r")
stream = run._stream
stream.record(Artifact({ARTIFACT!r}, name="m", type="model"))
stream.record(Staged({ARTIFACT!r}, {hashlib.sha256(manifest).hexdigest()!r}, 6, 1))
assert stream.wait_acked(30)
asked = {{"session": {SESSION!r}, "id": {ARTIFACT!r}, "size_bytes": 6, "files": 1}}
print(json.dumps(stream.ask("artifact_content", asked, 30)), flush=True)
os._exit(0)
""",
    )
    wait_until(lambda: shared.status()["artifacts"]["counts"] == {"failed": 1}, 60, "the claim to fail", poll_s=0.1)
    (listed,) = shared.status()["artifacts"]["listed"]
    assert f"belongs to user 0, and user {NOBODY} has spoken for the session" in listed["error"]
    assert shared.status()["counters"]["paths_refused"] == 1
    assert standin.artifacts() == []


def test_a_journal_in_a_spool_of_several_users_reads_nothing_through_the_daemon_that_its_owner_may_not(
    shared: World, standin: Standin
) -> None:
    secret = shared.folder / "secret"
    secret.write_bytes(b"k" * 8_000_000)
    secret.chmod(0o600)
    shared.kill_daemon()
    train(
        shared,
        AS_NOBODY
        + f"""
import numpy as np
run = wandb.init(project="p", id="r")
for row in range(20):
    run.log({{"x": row}})
run.log({{"image": wandb.Image(np.zeros((600, 600, 3), np.uint8))}})
assert run._stream.folder.stat().st_uid == {NOBODY}
shelves = list(run._stream.folder.glob("*.blob"))
assert shelves
for shelf in shelves:
    shelf.unlink()
    shelf.symlink_to({str(secret)!r})
os._exit(0)
""",
    )
    (folder,) = (path for path in shared.spool_dir.iterdir() if path.name != ROOT_NAME)
    spool = read_spool(folder)
    assert not any(b"k" * 1000 in stretch.payload for stretch in spool.stretches())
    assert any("link" in damage for damage in spool.damage), spool.damage
    shared.start_daemon()
    shared.wait_settled()
    with InboxReader(shared.state_dir / FILE_NAME) as reader:
        assert reader.peers(1) == {NOBODY}
    assert [row["x"] for row in standin.rows("r") if "x" in row] == list(range(20)), "its rows are kept"
    (run,) = shared.status()["runs"]
    assert sum(run["media_lost"].values()) == 1
