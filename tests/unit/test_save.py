"""`run.save`: which files, under which names, and what of them goes along."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import client
from client import saving
from client.protocol.records import BlobRef, Saved
from client.saving import Saving
from client.testing import RecordedRun
from tests.support.processes import wait_until
from tests.support.recording_session import recording


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, RecordedRun]]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "a.txt").write_text("a")
    (tmp_path / "out" / "deep" / "b.txt").write_text("b")
    with recording() as recorded:
        yield client.init(project="p"), recorded.run


def saved(run: RecordedRun) -> list[Saved]:
    return [record for record in run.session.records if isinstance(record, Saved)]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("out/a.txt",), ["out/a.txt"]),
        (("out/**",), ["out/a.txt"]),
        (("out/*/*.txt",), ["out/deep/b.txt"]),
        (("out/a.txt", "out"), ["a.txt"]),
        ((Path("out/../out/a.txt"),), ["out/a.txt"]),
        ((b"out/a.txt",), ["out/a.txt"]),
        (("out/nothing*",), []),
        (("s3://bucket/x",), []),
    ],
)
def test_names_are_relative_to_the_base_as_in_wandb(
    pair: tuple[Any, RecordedRun], arguments: tuple[Any, ...], names: list[str]
) -> None:
    run, recorded = pair
    paths = run.save(*arguments)
    assert [record.name for record in saved(recorded)] == names
    assert [path.rpartition("/files/")[2] for path in paths] == names


def test_an_absolute_path_keeps_one_folder(pair: tuple[Any, RecordedRun], tmp_path: Path) -> None:
    pair[0].save(str(tmp_path / "out" / "deep" / "b.txt"))
    assert [record.name for record in saved(pair[1])] == ["deep/b.txt"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("../x.txt",), "may not walk above the base path"),
        (("/etc/passwd", "out"), "may not walk above the base path"),
        (("out2/x", "out"), "may not walk above the base path"),
        (("out", "out"), "cannot be the same as the base path"),
        (("*",), r"may not start with '\*'"),
        (("out/a.txt", None, "sometimes"), 'Only "live", "end" and "now" policies'),
    ],
)
def test_names_outside_and_unknown_policies_are_errors(
    pair: tuple[Any, RecordedRun], arguments: tuple[Any, ...], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        pair[0].save(*arguments)
    assert saved(pair[1]) == []


def test_now_is_the_content_of_the_call(pair: tuple[Any, RecordedRun]) -> None:
    run, recorded = pair
    Path("out/large.bin").write_bytes(b"x" * 5_000_000)
    run.save("out/*", policy="now")
    Path("out/a.txt").write_text("later")
    Path("out/large.bin").unlink()
    small, large = saved(recorded)
    assert small.content == b"a"
    assert isinstance(large.content, BlobRef)
    assert large.content.size == 5_000_000


def test_live_and_end_are_linked_and_small_ones_go_along_for_safety(pair: tuple[Any, RecordedRun]) -> None:
    run, recorded = pair
    Path("out/large.bin").write_bytes(b"x" * (saving.SAVE_ALONG_BYTES + 1))
    run.save("out/*", policy="end")
    small, large = saved(recorded)
    folder = Path("out").stat()
    assert small.place == [str(Path("out/a.txt").absolute()), folder.st_dev, folder.st_ino]
    assert (small.content, large.content) == (b"a", None)


def test_what_changed_goes_along_again_at_finish(pair: tuple[Any, RecordedRun]) -> None:
    run, recorded = pair
    run.save("out/a.txt", policy="end")
    run.save("out/deep/b.txt", policy="live")
    Path("out/a.txt").write_text("changed")
    Path("out/deep/b.txt").unlink()
    run.finish()
    assert [(record.name, record.content) for record in saved(recorded)] == [
        ("out/a.txt", b"a"), ("out/deep/b.txt", b"b"), ("out/a.txt", b"changed"),
    ]  # fmt: skip


def test_a_daemon_on_another_machine_gets_contents_and_no_paths(
    pair: tuple[Any, RecordedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, recorded = pair
    monkeypatch.setenv("TELEMETRYD_ENDPOINT", "tcp://127.0.0.1:1")
    monkeypatch.setattr(saving, "SAVE_LIVE_PERIOD_S", 0.01)
    Path("out/large.bin").write_bytes(b"x" * (saving.SAVE_ALONG_BYTES + 1))
    run.save("out/*")
    assert [(record.place, record.content is not None) for record in saved(recorded)] == [([], True), ([], True)]
    Path("out/a.txt").write_text("changed")
    wait_until(lambda: saved(recorded)[-1].content == b"changed", 10, "a live file to be sent again")
    monkeypatch.setattr(saving, "SAVE_MAX_BYTES", 10)
    with pytest.raises(client.UnsupportedError, match="log it as an artifact"):
        run.save("out/large.bin")
    run.finish()


def test_folders_and_unreadable_files_are_left_out_with_a_word(
    pair: tuple[Any, RecordedRun], capsys: pytest.CaptureFixture[str]
) -> None:
    run, recorded = pair
    Path("out/dangling").symlink_to("nowhere")
    assert run.save("out/d*") == []
    said = capsys.readouterr().err
    assert "is a folder and is not saved" in said
    assert "dangling cannot be read and is not saved: No such file" in said
    assert saved(recorded) == []


def test_a_forked_child_and_a_finished_run_save_nothing(pair: tuple[Any, RecordedRun]) -> None:
    run, recorded = pair
    run.save("out/a.txt")
    run._saving.orphan()
    Path("out/a.txt").write_text("changed")
    run._saving.close()
    assert len(saved(recorded)) == 1
    run.finish()
    with pytest.raises(client.UsageError, match="The call to `save`"):
        run.save("out/a.txt")


def test_a_saving_that_has_nothing_looks_at_nothing() -> None:
    Saving(lambda record: None, lambda payload: payload, remote=True).close()
