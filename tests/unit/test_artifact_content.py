"""Paths are not trusted: what the daemon reads and writes of artifacts, and what it removes."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.journal.folder import OwnerLock
from client.protocol.artifacts import MANIFEST_NAME, Entry, Manifest, encode_manifest, path_problem
from client.protocol.messages import Answer, Ask, Hello, RunSpec
from client.protocol.records import Artifact, Staged
from telemetryd.health.counters import Counters
from telemetryd.inbox import content
from telemetryd.inbox.content import ContentError, PeerError, Places, whole
from telemetryd.inbox.database import prepare
from telemetryd.inbox.home import Home
from telemetryd.inbox.peers import MIXED
from telemetryd.inbox.store import Inbox
from telemetryd.inbox.sweep import Sweep
from telemetryd.reception.content_desk import ContentDesk
from tests.support.requirements import require

SESSION, ARTIFACT, OTHER = "5e" * 16, "a1" * 16, "b2" * 16


class Rig:
    """A state folder with an inbox that knows one session, and the two roots."""

    def __init__(self, folder: Path) -> None:
        self.state, self.spool = folder / "s", folder / "spool"
        for made in (self.state, self.spool):
            made.mkdir()
        prepare(self.state / "inbox.sqlite3")
        self.home = Home(self.state / "inbox.sqlite3")
        self.inbox = Inbox(self.home.path, self.home)
        self.places = Places(self.spool, self.state)
        hello = Hello(SESSION, run=RunSpec("r"), pid=os.getpid(), start_time_ns=1)
        with self.inbox.transaction():
            self.run_id = self.inbox.intake.hello(hello, 1).run_id
        assert self.run_id is not None

    def announce(self, identity: str = ARTIFACT) -> None:
        with self.inbox.transaction():
            self.inbox.artifacts.take(self.run_id or 0, SESSION, Artifact(identity, name="m", type="t"), 1)

    def staged(self, digest: str, identity: str = ARTIFACT, error: str | None = None) -> None:
        with self.inbox.transaction():
            self.inbox.artifacts.take(self.run_id or 0, SESSION, Staged(identity, digest, 10, 1, error), 1)

    def stage(self, root: Path, files: dict[int, bytes], identity: str = ARTIFACT) -> tuple[Path, str]:
        folder = root / SESSION / identity
        folder.mkdir(parents=True)
        entries = [Entry(f"file{number}", True, len(data)) for number, data in files.items()]
        manifest = encode_manifest(Manifest("n", entries))
        (folder / MANIFEST_NAME).write_bytes(manifest)
        for number, data in files.items():
            (folder / str(number)).write_bytes(data)
        return folder, hashlib.sha256(manifest).hexdigest()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.inbox.close()


# Reading


@pytest.mark.parametrize("name", ["", ".", "/etc/passwd", "../x", "a/../../b", "C:\\x", "a\\..\\..\\b", "a\0b"])
def test_a_name_that_would_leave_the_artifact_is_none(name: str) -> None:
    assert path_problem(name) is not None


@pytest.mark.parametrize("name", ["a", "a/b.txt", ".hidden", "a..b", "…"])
def test_other_names_are_fine(name: str) -> None:
    assert path_problem(name) is None


@pytest.mark.parametrize("name", ["..", "a/b", "/etc", "5e" * 15, "G" * 32, ""])
def test_no_session_or_artifact_is_a_path(rig: Rig, name: str) -> None:
    for session, identity in ((name, ARTIFACT), (SESSION, name)):
        with pytest.raises(ValueError, match="hexadecimal"):
            rig.places.find(session, identity, "x")


def test_content_is_found_where_its_manifest_is_the_one_that_was_announced(rig: Rig) -> None:
    assert rig.places.find(SESSION, ARTIFACT, "00") is None
    folder, digest = rig.stage(rig.spool / "artifacts", {0: b"abc"})
    assert rig.places.find(SESSION, ARTIFACT, "00" * 32) is None
    found = rig.places.find(SESSION, ARTIFACT, digest)
    assert found is not None
    assert (found.place, found.file(0).read_bytes()) == ("spool", b"abc")
    folder.rename(folder.with_name(OTHER))
    rig.stage(rig.state / "artifacts", {0: b"abc"})
    found = rig.places.find(SESSION, ARTIFACT, digest)
    assert found is not None
    assert found.place == "wire"


@pytest.mark.parametrize("how", ["link", "folder", "missing", "longer", "pipe"])
def test_what_is_no_file_of_the_announced_size_is_refused(rig: Rig, tmp_path: Path, how: str) -> None:
    folder, digest = rig.stage(rig.spool / "artifacts", {0: b"abc"})
    file = folder / "0"
    file.unlink()
    secret = tmp_path / "secret"
    secret.write_bytes(b"key")
    if how == "link":
        file.symlink_to(secret)
    elif how == "folder":
        file.mkdir()
    elif how == "longer":
        file.write_bytes(b"abcd")
    elif how == "pipe":
        os.mkfifo(file)
    with pytest.raises(ContentError):
        whole(folder, digest)


def test_a_linked_manifest_or_folder_is_not_followed(rig: Rig, tmp_path: Path) -> None:
    folder, digest = rig.stage(rig.spool / "artifacts", {0: b"abc"})
    elsewhere = tmp_path / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    assert rig.places.find(SESSION, ARTIFACT, digest) is None
    folder.unlink()
    elsewhere.rename(folder)
    (folder / MANIFEST_NAME).rename(tmp_path / "manifest")
    (folder / MANIFEST_NAME).symlink_to(tmp_path / "manifest")
    with pytest.raises(OSError, match="symbolic"):
        rig.places.find(SESSION, ARTIFACT, digest)


def test_a_file_of_another_user_than_its_folder_s_is_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a hard link to somebody else's file would be."""
    folder, digest = rig.stage(rig.spool / "artifacts", {0: b"abc"})
    lstat = Path.lstat

    class Foreign:
        def __init__(self, found: os.stat_result) -> None:
            self._found = found
            self.st_uid = found.st_uid + 1

        def __getattr__(self, name: str) -> Any:
            return getattr(self._found, name)

    monkeypatch.setattr(Path, "lstat", lambda self: Foreign(lstat(self)) if self.name == "0" else lstat(self))
    with pytest.raises(ContentError, match="another user"):
        whole(folder, digest)


# Writing


class Client:
    """Asks a content desk, on the test's thread."""

    def __init__(self, rig: Rig, max_bytes: int = 1 << 20) -> None:
        self.rig = rig
        self.counters = Counters()
        self.desk = ContentDesk(
            rig.home, rig.places, rig.state / "downloads", max_bytes, self.counters, lambda connection, answer: None
        )

    def ask(self, kind: str, **args: Any) -> Answer:
        return self.desk._answer(self.rig.inbox, Ask(1, kind, {"session": SESSION, "id": ARTIFACT, **args}))

    def chunk(self, file: int, offset: int, data: bytes, crc: int | None = None) -> Answer:
        crc = zlib.crc32(data) if crc is None else crc
        return self.ask("artifact_chunk", file=file, offset=offset, data=data, crc=crc)


def manifest_of(*files: bytes) -> tuple[bytes, str]:
    manifest = encode_manifest(Manifest("n", [Entry(f"f{n}", True, len(data)) for n, data in enumerate(files)]))
    return manifest, hashlib.sha256(manifest).hexdigest()


def test_content_comes_in_pieces_goes_on_where_it_was_and_is_whole_at_the_end(rig: Rig) -> None:
    manifest, digest = manifest_of(b"hello", b"")
    client = Client(rig)
    total = len(manifest) + 5
    assert client.ask("artifact_content", size_bytes=total, files=3).result == {"unknown": True}
    rig.announce()
    assert client.ask("artifact_content", size_bytes=total, files=3).result == {"unknown": True}
    rig.staged(digest)
    assert client.ask("artifact_content", size_bytes=total, files=3).result == {"have": {}}
    assert client.chunk(-1, 0, manifest).result == {"size": len(manifest)}
    assert client.chunk(0, 0, b"hel").result == {"size": 3}
    assert client.chunk(0, 0, b"hel").error, "the same again changes nothing"
    assert client.chunk(0, 9, b"x").error, "nor does a piece from further on"
    assert client.chunk(0, 3, b"lo", crc=1).error, "nor a damaged one"
    after = Client(rig)  # the daemon was restarted
    assert after.chunk(0, 3, b"lo").error, "it asks first where to go on"
    assert after.ask("artifact_content", size_bytes=total, files=3).result == {"have": {"-1": len(manifest), "0": 3}}
    assert after.chunk(0, 3, b"lo").result == {"size": 5}
    assert after.chunk(1, 0, b"").result == {"size": 0}
    assert after.ask("artifact_content", size_bytes=total, files=3).result == {"here": "wire"}
    found = rig.places.find(SESSION, ARTIFACT, digest)
    assert found is not None
    assert found.file(0).read_bytes() == b"hello"


@pytest.mark.parametrize("peer_uid", [4711, MIXED])
def test_what_another_user_has_staged_is_not_there_for_a_peer_who_may_send_it(rig: Rig, peer_uid: int) -> None:
    """As where the two see different numbers of the same user, in user namespaces: it is slower, and not lost."""
    client = Client(rig)
    rig.announce()
    _, digest = rig.stage(rig.spool / "artifacts", {0: b"abc"})
    rig.staged(digest)
    with rig.inbox.transaction():
        rig.inbox.intake.spoke(SESSION, peer_uid)
    manifest = (rig.spool / "artifacts" / SESSION / ARTIFACT / MANIFEST_NAME).read_bytes()
    assert rig.places.find(SESSION, ARTIFACT, digest, peer_uid) is None
    for _ in range(2):
        assert client.ask("artifact_content", size_bytes=len(manifest) + 3, files=1).result == {"have": {}}
    assert client.counters["paths_refused"] == 1, "told once"
    client.chunk(-1, 0, manifest)
    client.chunk(0, 0, b"abc")
    assert client.ask("artifact_content", size_bytes=len(manifest) + 3, files=1).result == {"here": "wire"}
    found = rig.places.find(SESSION, ARTIFACT, digest, peer_uid)
    assert found is not None
    assert found.place == "wire"


def test_another_user_s_content_is_copied_before_it_is_used_and_only_what_is_theirs(rig: Rig, tmp_path: Path) -> None:
    require(os.geteuid() == 0, "root, to give files to another user")
    folder, digest = rig.stage(rig.spool / "artifacts", {0: b"abc"})
    for path in (folder.parent, folder, folder / MANIFEST_NAME, folder / "0"):
        os.chown(path, 4711, 4711)
    places = Places(rig.spool, rig.state, 200)

    found = places.find(SESSION, ARTIFACT, digest, 4711)
    assert found is not None
    assert found.is_foreign
    (folder / "0").rename(folder / "1")
    secret = tmp_path / "secret"
    secret.write_bytes(b"key")
    for how in (os.symlink, os.link):
        how(secret, folder / "0")
        with pytest.raises((PeerError, OSError), match=r"no file of user 4711|symbolic links"):
            places.take_over(found, SESSION, ARTIFACT, digest, 4711, lambda: None)
        (folder / "0").unlink()
    assert not list((rig.state / "artifacts").rglob("*.partial"))
    (folder / "1").rename(folder / "0")
    copy = places.take_over(found, SESSION, ARTIFACT, digest, 4711, lambda: None)
    assert (copy.place, copy.is_foreign, copy.file(0).read_bytes()) == ("wire", False, b"abc")
    again = places.find(SESSION, ARTIFACT, digest, 4711)
    assert again == copy, "and a worker that comes after does not copy it again"
    with pytest.raises(ContentError, match="staging is full"):
        Places(rig.spool, rig.state, 2).take_over(found, SESSION, ARTIFACT, digest, 4711, lambda: None)


def test_content_with_another_manifest_than_announced_is_thrown_away(rig: Rig) -> None:
    manifest, _ = manifest_of(b"hello")
    rig.announce()
    rig.staged("00" * 32)
    client = Client(rig)
    client.ask("artifact_content", size_bytes=len(manifest) + 5, files=2)
    client.chunk(-1, 0, manifest)
    client.chunk(0, 0, b"hello")
    assert client.ask("artifact_content", size_bytes=len(manifest) + 5, files=2).result == {"have": {}}
    assert content.size_of(rig.places.wire_root) == 0


@pytest.mark.parametrize("file", [-2, 1 << 40])
def test_a_file_is_a_number_among_those_that_there_can_be(rig: Rig, file: int) -> None:
    rig.announce()
    rig.staged("00" * 32)
    client = Client(rig)
    client.ask("artifact_content", size_bytes=100, files=2)
    assert "no file" in client.chunk(file, 0, b"x").result["error"]


def test_no_more_comes_than_was_announced_and_no_more_than_the_cap(rig: Rig) -> None:
    rig.announce()
    rig.staged("00" * 32)
    client = Client(rig, max_bytes=100)
    assert "full" in client.ask("artifact_content", size_bytes=101, files=1).result["error"]
    assert client.ask("artifact_content", size_bytes=10, files=1).result == {"have": {}}
    assert client.chunk(0, 0, b"x" * 10).result == {"size": 10}
    assert "more content" in client.chunk(0, 10, b"x").result["error"]


@pytest.mark.parametrize("args", [{"session": "../x"}, {"id": "../../x"}, {"session": 3}, {"file": "0/../../x"}])
def test_nonsense_gets_an_error_and_writes_nothing(rig: Rig, tmp_path: Path, args: dict[str, Any]) -> None:
    rig.announce()
    rig.staged("00" * 32)
    client = Client(rig)
    client.ask("artifact_content", size_bytes=100, files=2)
    given = {"file": 0, "offset": 0, "data": b"x", "crc": zlib.crc32(b"x"), **args}
    assert client.ask("artifact_chunk", **given).error
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"x"] == []


@pytest.mark.parametrize("key", ["../s", "..", "/etc", "ab"])
def test_nothing_but_the_cache_is_read_for_a_peer(rig: Rig, key: str) -> None:
    (rig.state / "0").write_bytes(b"secret")
    answer = Client(rig).ask("artifact_read", key=key, file=0, offset=0, size=10)
    assert answer.error
    assert not answer.result


def test_a_link_in_the_cache_is_not_followed(rig: Rig) -> None:
    folder = rig.state / "downloads" / ARTIFACT
    folder.mkdir(parents=True)
    (folder / "0").symlink_to("/etc/hostname")
    assert Client(rig).ask("artifact_read", key=ARTIFACT, file=0, offset=0, size=10).error


# Removing


def test_what_has_ended_goes_and_what_is_on_its_way_stays(rig: Rig) -> None:
    sweep = Sweep(rig.inbox, rig.places, rig.spool)
    for identity in (ARTIFACT, OTHER):
        rig.stage(rig.places.wire_root, {0: b"x"}, identity)
        rig.stage(rig.spool / "artifacts", {0: b"x"}, identity)
        rig.announce(identity)
        rig.staged("00" * 32, identity)
    lock = OwnerLock.take(rig.spool / "artifacts" / SESSION)
    assert lock is not None
    assert sweep.round() == 0
    rig.inbox.artifacts.update(SESSION, ARTIFACT, "committed", None, {"version": "v0"})
    assert sweep.round() == 2
    left = sorted(str(p.relative_to(rig.spool.parent)) for p in rig.spool.parent.rglob("0"))
    assert left == [f"s/artifacts/{SESSION}/{OTHER}/0", f"spool/artifacts/{SESSION}/{OTHER}/0"]
    rig.inbox.artifacts.update(SESSION, OTHER, "failed", "why", None)
    assert sweep.round() == 2
    assert (rig.spool / "artifacts" / SESSION).exists(), "its owner lives"
    lock.release()
    sweep.round()
    assert list((rig.spool / "artifacts").iterdir()) == list(rig.places.wire_root.iterdir()) == []


def test_what_a_dead_process_was_staging_goes_once_its_journal_is_adopted(rig: Rig) -> None:
    partial = rig.spool / "artifacts" / SESSION / f"{ARTIFACT}.partial"
    partial.mkdir(parents=True)
    (partial / "0").write_bytes(b"x")
    lock = OwnerLock.take(partial.parent)
    assert lock is not None
    sweep = Sweep(rig.inbox, rig.places, rig.spool)
    sweep.round()
    assert partial.exists(), "its owner lives"
    lock.release()
    (rig.spool / SESSION).mkdir()
    sweep.round()
    assert partial.exists(), "its journal may still announce it"
    (rig.spool / SESSION).rmdir()
    sweep.round()
    assert not partial.exists()
    sweep.round()
    assert not partial.parent.exists(), "nothing is left in it"


def test_the_cache_of_wandb_is_held_to_its_cap_the_oldest_first(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / str(number)).write_bytes(bytes(10))
        os.utime(tmp_path / str(number), (number, number))
    content.trim(tmp_path, 25)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "4"]
