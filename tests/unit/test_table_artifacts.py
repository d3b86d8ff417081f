"""The artifacts of tables that wait for W&B's word, in their file."""

from __future__ import annotations

from pathlib import Path

import pytest

from telemetryd.runs import table_artifacts
from telemetryd.runs.table_artifacts import TableArtifacts


def waiting(path: Path) -> list[bytes]:
    """What a next worker finds."""
    return list(TableArtifacts(path).stored())


def test_what_is_not_committed_is_found_by_the_next_worker_in_order(tmp_path: Path) -> None:
    path = tmp_path / "1.artifacts"
    kept = TableArtifacts(path)
    for name in ("a", "b", "b", "c"):
        kept.add(name, name.encode() * 10)
    assert waiting(path) == [b"a" * 10, b"b" * 10, b"c" * 10]
    kept.committed("b")
    kept.tidy()
    assert waiting(path) == [b"a" * 10, b"b" * 10, b"c" * 10], "an older version is committed before a newer one"


def test_the_file_is_gone_when_all_is_committed(tmp_path: Path) -> None:
    path = tmp_path / "1.artifacts"
    TableArtifacts(path).add("a", b"1")
    kept = TableArtifacts(path)
    assert [kept.take("a", request) for request in kept.stored()] == [True]
    assert not kept.take("a", b"1"), "written down twice, it is handed over once"
    kept.add("b", b"2")
    for name in ("b", "a"):
        kept.committed(name)
        kept.tidy()
    assert not path.exists()
    kept.add("c", b"3")
    assert waiting(path) == [b"3"]


def test_what_is_committed_leaves_a_long_file_from_its_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_artifacts, "_REWRITE_BYTES", 100)
    path = tmp_path / "1.artifacts"
    kept = TableArtifacts(path)
    for number in range(10):
        kept.add(str(number), bytes([number]) * 20)
    for number in (0, 1, 2, 3, 5):
        kept.committed(str(number))
    kept.tidy()
    assert waiting(path) == [bytes([number]) * 20 for number in (4, 5, 6, 7, 8, 9)]
    kept.committed("4")
    for number in range(6, 10):
        kept.committed(str(number))
    kept.tidy()
    assert not path.exists()


@pytest.mark.parametrize("cut", [1, 5, 8, 12])
def test_a_frame_cut_by_a_kill_ends_the_file_and_later_ones_are_found(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "1.artifacts"
    kept = TableArtifacts(path)
    kept.add("a", b"1" * 10)
    kept.add("b", b"2" * 10)
    path.write_bytes(path.read_bytes()[:-cut])
    kept = TableArtifacts(path)
    assert [kept.take("a", request) for request in kept.stored()] == [True]
    kept.add("c", b"3")
    assert waiting(path) == [b"1" * 10, b"3"]
