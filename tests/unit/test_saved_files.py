"""Saved files in the run's folder: nothing leaves it, and a client's path is followed only where it may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from client.protocol.records import Saved
from telemetryd.runs import saved_files
from telemetryd.runs.saved_files import SavedFileError


class Run:
    """wandb's, as far as this goes."""

    def __init__(self, folder: Path) -> None:
        self.dir = str(folder)
        self.saved: list[tuple[str, str, str]] = []

    def save(self, path: str, base_path: str, policy: str, glob: bool) -> None:
        assert not glob
        self.saved.append((path, base_path, policy))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "files").mkdir()
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "a.txt").write_text("user's")
    return Run(tmp_path / "files")


def place_of(path: Path) -> list[Any]:
    folder = path.parent.stat()
    return [str(path), folder.st_dev, folder.st_ino]


@pytest.mark.parametrize("name", ["", ".", "/etc/passwd", "../x", "a/../../x", "a\0b"])
def test_names_that_leave_the_folder_are_refused(run: Run, name: str) -> None:
    with pytest.raises(SavedFileError, match="no name below"):
        saved_files.save(run, Saved(name, "now", [], b"x"), b"x", trust_paths=True)
    assert run.saved == []


def test_an_unknown_policy_is_refused(run: Run) -> None:
    with pytest.raises(SavedFileError, match="no policy"):
        saved_files.save(run, Saved("a", "later", [], b"x"), b"x", trust_paths=True)


def test_content_is_written_below_the_folder_and_given_to_wandb(run: Run) -> None:
    assert saved_files.save(run, Saved("deep/a.txt", "end"), b"x", trust_paths=False) == "written"
    target = Path(run.dir) / "deep" / "a.txt"
    assert target.read_bytes() == b"x"
    assert run.saved == [(str(target), run.dir, "end")]


def test_a_link_within_the_folder_is_not_written_through(run: Run, tmp_path: Path) -> None:
    (Path(run.dir) / "out").symlink_to(tmp_path / "user")
    with pytest.raises(SavedFileError, match="outside of the run's folder"):
        saved_files.save(run, Saved("out/a.txt", "now"), b"x", trust_paths=True)
    (Path(run.dir) / "b.txt").symlink_to(tmp_path / "user" / "a.txt")
    saved_files.save(run, Saved("b.txt", "now"), b"x", trust_paths=True)
    assert (tmp_path / "user" / "a.txt").read_text() == "user's"
    assert (Path(run.dir) / "b.txt").read_bytes() == b"x"


def test_a_file_that_is_seen_is_linked_by_wandb(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "user" / "a.txt"
    record = Saved("user/a.txt", "live", place_of(path))
    assert saved_files.save(run, record, b"old", trust_paths=True) == "linked"
    assert run.saved == [(str(path), f"{tmp_path}/", "live")] or run.saved == [(str(path), str(tmp_path), "live")]


@pytest.mark.parametrize("why", ["not trusted", "another folder", "another name", "gone", "now"])
def test_otherwise_its_content_is_written(run: Run, tmp_path: Path, why: str) -> None:
    path = tmp_path / "user" / "a.txt"
    record = Saved("user/a.txt", "now" if why == "now" else "live", place_of(path))
    if why == "another folder":
        record.place[2] += 1
    elif why == "another name":
        record.place[0] = str(tmp_path / "user" / "b.txt")
    elif why == "gone":
        path.unlink()
    assert saved_files.save(run, record, b"x", trust_paths=why != "not trusted") == "written"


def test_what_is_neither_seen_nor_came_along_is_an_error(run: Run) -> None:
    with pytest.raises(SavedFileError, match="did not come along"):
        saved_files.save(run, Saved("a", "live", ["/nowhere/a", 1, 2]), None, trust_paths=True)
