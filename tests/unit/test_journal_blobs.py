"""The bytes of media values in the journal: on shelves until acked, in the place of their Links on the wire."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from client import guard, rich
from client.journal import blobs as blob_files
from client.journal.blobs import Blobs
from client.journal.reader import read_spool
from client.limits import BLOB_PART_BYTES, SHELF_BYTES
from client.media.base import Part
from client.payload import Payload
from client.policy import Policy
from client.protocol import framing
from client.protocol.messages import Hello, RunSpec
from client.protocol.records import Blob, Row, decode, encode
from client.row_body import row_body
from client.session import Session
from tests.support.daemon_model import DaemonModel
from tests.support.processes import wait_until

SESSION = "0123456789abcdef" * 2
SIZES = [5000, 100_000, BLOB_PART_BYTES + 1, SHELF_BYTES + 5, 3 * BLOB_PART_BYTES]


@pytest.fixture
def model(short_path: Path) -> Iterator[DaemonModel]:
    daemon = DaemonModel(f"ipc://{short_path}/d.sock")
    yield daemon
    daemon.stop()


def opened(model: DaemonModel, folder: Path, policy: Policy | None = None) -> Session:
    return Session.open(Hello(SESSION, run=RunSpec("r")), endpoint=model.endpoint, spool_dir=folder, policy=policy)


def content(number: int, size: int) -> bytes:
    return random.Random(number).randbytes(size)


def logged(session: Session, sizes: list[int]) -> list[int]:
    """Log a row behind the bytes of each size; the blobs' ids."""
    ids = []
    for number, size in enumerate(sizes):
        ids.append(session.place(Payload.of(bytearray(content(number, size)))))
        assert session.append(encode(Row(number, 1, {"n": number})))
    return ids


def arrived(records: list[object]) -> dict[int, bytes]:
    found: dict[int, bytearray] = {}
    for record in records:
        if isinstance(record, Blob):
            assert record.offset == len(found.setdefault(record.id, bytearray()))
            found[record.id] += record.data
    return {blob_id: bytes(data) for blob_id, data in found.items()}


def test_bytes_of_any_size_reach_the_daemon_ahead_of_their_row(model: DaemonModel, short_path: Path) -> None:
    session = opened(model, short_path / "spool")
    ids = logged(session, SIZES)
    model.start()
    assert session.wait_acked(30)
    records = model.kept[SESSION]
    assert arrived(records) == {ids[n]: content(n, size) for n, size in enumerate(SIZES)}
    assert [record.step for record in records if isinstance(record, Row)] == list(range(len(SIZES)))
    assert session.ledger == (len(SIZES), len(SIZES), 0, {})
    assert session.close(5)


def test_a_daemon_that_restarts_gets_the_bytes_that_it_has_not_acked(model: DaemonModel, short_path: Path) -> None:
    session = opened(model, short_path / "spool")
    model.drop_ack = lambda batch: batch % 2 == 1
    model.start()
    ids = logged(session, SIZES)
    assert session.wait_connected(5)
    model.stop()
    model.drop_ack = lambda _: False
    model.start()
    assert session.wait_acked(30)
    assert arrived(model.kept[SESSION]) == {ids[n]: content(n, size) for n, size in enumerate(SIZES)}
    assert session.close(5)


CHILD = """
import os, signal, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from client.protocol.messages import Hello, RunSpec
from client.session import Session
from tests.unit.test_journal_blobs import SESSION, SIZES, logged
session = Session.open(Hello(SESSION, run=RunSpec("r")), endpoint="ipc:///nobody", spool_dir=Path({spool!r}))
print(*logged(session, SIZES), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_killed_right_after_log_returned_leaves_every_byte_to_adoption(short_path: Path) -> None:
    script = CHILD.format(root=str(Path(__file__).parents[2]), spool=str(short_path / "spool"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    ids = [int(word) for word in done.stdout.split()]
    spool = read_spool(short_path / "spool" / SESSION)
    records = []
    for stretch in spool.stretches():
        numbered = list(framing.bodies(stretch.payload, stretch.first))
        assert (numbered[0][0], numbered[-1][0]) == (stretch.first, stretch.last)
        records += [decode(body) for _, body in numbered if body is not None]
    assert spool.damage == []
    assert arrived(records) == {ids[n]: content(n, size) for n, size in enumerate(SIZES)}
    assert [record.step for record in records if isinstance(record, Row)] == list(range(len(SIZES)))


def test_a_shelf_that_is_gone_costs_its_bytes_and_no_row(short_path: Path) -> None:
    script = CHILD.format(root=str(Path(__file__).parents[2]), spool=str(short_path / "spool"))
    subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    folder = short_path / "spool" / SESSION
    for shelf in folder.glob("*.blob"):
        os.truncate(shelf, 6000)
    spool = read_spool(folder)
    bodies = [
        body
        for stretch in spool.stretches()
        for _, body in framing.bodies(stretch.payload, stretch.first)
        if body is not None and bytes(body[1:5]) == b"\xa1t\xa1r"
    ]
    assert len(bodies) == len(SIZES)
    assert any("cut" in damage for damage in spool.damage)


def test_a_place_is_used_again_when_its_value_is_gone_and_acked(model: DaemonModel, short_path: Path) -> None:
    session = opened(model, short_path / "spool")
    model.start()
    for turn in range(40):
        logged(session, [1 << 20] * 4)
        assert session.wait_acked(30), turn
    gc.collect()
    assert session.blobs.held_bytes() <= 3 * SHELF_BYTES
    assert session.close(5)
    assert not (short_path / "spool" / SESSION).exists()


def test_there_is_nothing_to_tend_before_a_value_and_once_it_is_acked(model: DaemonModel, short_path: Path) -> None:
    session = opened(model, short_path / "spool")
    assert session.blobs.at_rest
    logged(session, [1 << 20])
    assert not session.blobs.at_rest
    model.start()
    assert session.wait_acked(30)
    wait_until(lambda: session.blobs.at_rest, 10)
    assert session.blobs.held_bytes()
    assert session.close(5)


def test_logging_holds_no_value_longer_than_until_its_ack_without_a_garbage_collector(
    model: DaemonModel, short_path: Path
) -> None:
    session = opened(model, short_path / "spool")
    model.start()
    gc.collect()
    gc.disable()
    try:
        for step in range(60):
            row = rich.encode({"v": Part("file", name="x", data=Payload.of(bytearray(1 << 20)))}, session.place)
            session.append(row_body(row, step, 1, True, False))
            assert session.wait_acked(30), step
        assert session.blobs.held_bytes() <= 2 * SHELF_BYTES
    finally:
        gc.enable()
    assert session.close(5)


def test_a_value_that_lives_keeps_its_bytes_whatever_comes_after(model: DaemonModel, short_path: Path) -> None:
    session = opened(model, short_path / "spool")
    model.start()
    kept = Payload.of(bytearray(content(1, 100_000)))
    assert session.place(kept)
    for _ in range(20):
        logged(session, [1 << 20] * 4)
        assert session.wait_acked(30)
    assert bytes(kept) == content(1, 100_000)
    again = session.place(kept)
    assert session.wait_acked(30)
    assert arrived(model.kept[SESSION])[again] == content(1, 100_000)
    session.close(5)
    assert bytes(kept) == content(1, 100_000), "also when its session is over"


def test_at_the_cap_bytes_are_refused_and_rows_are_not(model: DaemonModel, short_path: Path) -> None:
    session = opened(model, short_path / "spool", Policy(spool_max_bytes=64 << 20))
    kept = [session.place(Payload.of(bytearray(8 << 20))) for _ in range(10)]
    assert kept[0]
    assert kept[-1] == 0
    assert session.append(encode(Row(0, 1, {"loss": 1.0})))
    assert session.ledger.dropped == {}
    session.close(0)


def test_without_a_disk_bytes_are_kept_in_memory_and_saved_when_there_is_one(
    model: DaemonModel, short_path: Path
) -> None:
    spool = short_path / "spool"
    spool.write_text("in the way")
    session = opened(model, spool)
    assert session.place(Payload.of(bytearray(content(3, 200_000))))
    assert session.append(encode(Row(0, 1, {})))
    spool.unlink()
    wait_until(lambda: any(spool.glob("*/*.blob")), 10, lambda: "the shelf on disk")
    guard.raised.clear()
    session.close(0)
    read = read_spool(spool / SESSION)
    records = [
        decode(body)
        for stretch in read.stretches()
        for _, body in framing.bodies(stretch.payload, stretch.first)
        if body is not None
    ]
    assert list(arrived(records).values()) == [content(3, 200_000)]


def test_after_a_fork_the_child_takes_no_place_on_its_parents_shelves(model: DaemonModel, short_path: Path) -> None:
    session = opened(model, short_path / "spool")
    logged(session, [100_000])
    pid = os.fork()
    if pid == 0:
        os._exit(0 if session.blobs.take(5000) is None and Payload.of(bytearray(9000)).chunk is None else 1)
    assert os.waitpid(pid, 0)[1] == 0
    session.close(0)


def test_shelves_are_named_so_that_adoption_finds_them(short_path: Path) -> None:
    blobs = Blobs(lambda: short_path)
    chunk = blobs.take(10)
    assert chunk is not None
    assert (short_path / blob_files.file_name(chunk.shelf.index)).stat().st_size == SHELF_BYTES
