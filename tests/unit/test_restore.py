"""`restore`: pieces become a file under the root, and what cannot be says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import client
from client import restoring
from client.errors import CommError, NoAnswerError
from client.restoring import restore_file
from telemetryd.runs import run_files
from telemetryd.runs.run_files import RunFiles
from tests.support.recording_session import recording


class Daemon:
    """Answers from a real RunFiles over a run that is played."""

    def __init__(self, files: dict[str, bytes], md5: str = "x") -> None:
        self.files = files
        self.md5 = md5
        self.served = RunFiles()
        self.asked = 0

    def ask(self, op: str, timeout_s: float, **args: Any) -> dict[str, Any]:
        assert op == "run_file"
        self.asked += 1
        return self.served.piece(args, lambda: PlayedRun(self))


class PlayedRun:
    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon

    def files(self, names: list[str]) -> list[Any]:
        return [PlayedFile(self.daemon, name) for name in names if name in self.daemon.files]


class PlayedFile:
    def __init__(self, daemon: Daemon, name: str) -> None:
        self.md5 = daemon.md5
        self._content, self._name = daemon.files[name], name

    def download(self, root: str, replace: bool) -> Any:
        path = Path(root) / self._name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self._content)
        return path.open()


@pytest.mark.parametrize("size", [0, 1, 10, 11, 35])
def test_a_file_comes_whole_in_pieces(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_files, "PIECE_BYTES", 10)
    content = bytes(range(size))
    daemon = Daemon({"deep/a.bin": content})
    found = restore_file(daemon.ask, "deep/a.bin", "e/p/r", False, str(tmp_path))
    assert found is not None
    found.close()
    assert (tmp_path / "deep" / "a.bin").read_bytes() == content
    assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / "a.bin"]
    assert daemon.asked == max(1, -(-size // 10))
    assert daemon.served._tickets == {}


def test_a_file_that_is_there_is_opened_as_it_is_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine")
    daemon = Daemon({"a.txt": b"W&B's"})
    for replace, text in ((False, "mine"), (True, "W&B's")):
        found = restore_file(daemon.ask, "a.txt", "e/p/r", replace, str(tmp_path))
        assert found is not None
        with found:
            assert found.read() == text
    assert daemon.asked == 1


def test_a_file_that_the_run_has_not_is_none(tmp_path: Path) -> None:
    assert restore_file(Daemon({}).ask, "a.txt", "e/p/r", False, str(tmp_path)) is None
    assert list(tmp_path.iterdir()) == []


def test_what_the_download_raises_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="knows its name only"):
        restore_file(Daemon({"a": b""}, md5="0").ask, "a", "e/p/r", False, str(tmp_path))


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", ""])
def test_names_stay_below_the_root(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stays below the root"):
        restore_file(Daemon({}).ask, name, "e/p/r", False, str(tmp_path))


def test_what_does_not_come_in_time_says_so_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoring, "RESTORE_POLL_S", 0.001)
    with pytest.raises(NoAnswerError, match="did not come in time"):
        restore_file(lambda *a, **k: {"state": "running"}, "a", "e/p/r", False, str(tmp_path), timeout_s=0.02)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_leaves_nothing(tmp_path: Path) -> None:
    def refuse(*args: Any, **named: Any) -> dict[str, Any]:
        raise CommError("W&B says no")

    with pytest.raises(CommError, match="says no"):
        restore_file(refuse, "a", "e/p/r", False, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_idle_ticket_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_files, "PIECE_BYTES", 1)
    daemon = Daemon({"a": b"xy"})
    args = {"file": "a", "offset": 0}
    daemon.served.piece({**args, "ticket": "first"}, lambda: PlayedRun(daemon))
    folder = daemon.served._tickets["first"].folder
    monkeypatch.setattr(run_files, "TICKET_IDLE_S", -1.0)
    daemon.served.piece({**args, "ticket": "second", "offset": 1}, lambda: PlayedRun(daemon))
    assert "first" not in daemon.served._tickets
    assert not folder.exists()


def test_before_init_the_run_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="run_path required"):
        client.restore("a.txt")
    (tmp_path / "a.txt").write_text("here")
    with client.restore("a.txt", "e/p/r", root=str(tmp_path)) as found:  # type: ignore[union-attr]
        assert found.read() == "here"
    with recording(), pytest.raises(NoAnswerError):
        client.init(project="p").restore("other.txt", root=str(tmp_path), timeout=0.1)
