"""When an upload counts as slow, refused or lost; and what is read in wandb-core's log."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from telemetryd.runs import online, put_back
from telemetryd.runs.confirmer import Confirmer
from telemetryd.runs.control import Trouble
from telemetryd.runs.core_log import CoreLog
from telemetryd.runs.errors import ServerError, ServerRefusedError, ServerSilentError, ServerUnsuitedError
from telemetryd.runs.notes import Folder, Notebook
from telemetryd.runs.online import Upload
from telemetryd.runs.upload import Signs, UploadStopped, UploadWatch
from telemetryd.runs.wandb_server import RunName, Server
from tests.support.processes import wait_until

BEHIND = Signs(rows=5, wanted=10)


def watch(patience_s: float = 60.0) -> UploadWatch:
    made = UploadWatch(patience_s)
    assert made.judge(0.0, BEHIND) is None
    return made


def test_an_upload_that_advances_is_no_trouble_however_long_it_takes() -> None:
    upload = watch()
    for second in range(1, 1000):
        assert upload.judge(float(second), Signs(rows=5 + second // 5, wanted=10_000)) is None
    assert upload.advanced


def test_nothing_missing_is_never_trouble() -> None:
    upload = watch()
    assert upload.judge(10_000.0, Signs(rows=10, wanted=10)) is None
    assert upload.judge(10_001.0, Signs(rows=10, wanted=11)) is None, "the clock begins when something is missing"


def test_a_count_that_stands_still_is_told_and_then_given_up() -> None:
    upload = watch(patience_s=60)
    told = upload.judge(11.0, BEHIND)
    assert isinstance(told, Trouble)
    assert (told.reason, "5 of 10" in told.message) == ("slow", True)
    assert isinstance(upload.judge(61.0, BEHIND), UploadStopped)


@pytest.mark.parametrize("excuse", [{"silent_s": 30.0, "silence": "W&B is silent"}, {"retry_s": 1.0}])
def test_an_outage_never_ends_the_worker(excuse: dict[str, float | str]) -> None:
    upload = watch(patience_s=60)
    for second in range(6, 100_000, 100):
        assert isinstance(upload.judge(float(second), replace(BEHIND, **excuse)), Trouble)
    assert not isinstance(upload.judge(99_950.0, BEHIND), UploadStopped), "patience begins anew after it"


def test_an_answer_without_sense_is_given_up_soon_but_only_when_rows_are_missing() -> None:
    upload = watch()
    assert upload.judge(1.0, Signs(rows=10, wanted=10, garbage_s=0.5)) is None
    assert upload.judge(2.0, replace(BEHIND, rows=10, wanted=12, garbage_s=0.5)) is None
    assert isinstance(upload.judge(8.0, Signs(rows=10, wanted=12, garbage_s=1.0)), UploadStopped)


def test_a_fatal_error_of_wandb_core_is_seen_at_once() -> None:
    assert watch().judge(0.1, replace(BEHIND, fatal="fatal error: 401")) == UploadStopped("fatal error: 401")


def test_the_log_is_read_as_it_grows_and_a_half_line_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "debug-internal.log"
    log = CoreLog(path)
    log.read(1.0)
    retry = json.dumps({"msg": "api: retrying HTTP error", "status": 500, "url": "http://x/files/e/p/r/file_stream"})
    fatal = json.dumps({"msg": "filestream: fatal error: filestream: failed to upload: 403 Forbidden url=http://x: {}"})
    path.write_text(retry + "\n" + fatal[:40])
    log.read(2.0)
    assert (log.retry_at_s, log.retry_reason, log.fatal) == (2.0, "500", None)
    path.write_text(retry + "\n" + fatal + "\nnot json filestream: \n")
    log.read(3.0)
    assert (log.fatal_status, log.garbage_at_s) == (403, None)
    assert "403 Forbidden" in str(log.fatal)


class History:
    """A server's lines, by their offsets."""

    def __init__(self) -> None:
        self.lines: dict[int, Any] = {}
        self.trouble: ServerError | None = None

    def put_lines(self, name: RunName, offset: int, lines: list[str]) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.lines |= {offset + n: json.loads(line) for n, line in enumerate(lines)}


class Counted:
    """What a Confirmer tells, as the test says it."""

    rows, refusal = 0, None

    def want(self, rows: int, *, hurry: bool) -> None:
        """Nothing."""

    def silent(self) -> tuple[float, str]:
        return 0.0, ""


def test_rows_count_after_an_answer_without_sense_only_once_they_are_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_file = 6
    monkeypatch.setattr(put_back, "history_rows", lambda path: ((step, {"i": step}) for step in range(in_file)))
    monkeypatch.setattr(online, "PUT_BACK_PAUSE_S", 0.0)
    server, path = History(), tmp_path / "debug-internal.log"
    notebook = Notebook(tmp_path / "1.json", 1, "keep")
    upload = Upload(cast(Server, server), RunName("e", "p", "r"), 100, CoreLog(path), notebook, tmp_path / "x.wandb")
    counted = Counted()
    upload._confirmer = cast(Confirmer, counted)
    upload.want(8, hurry=False)
    counted.rows = 3
    assert upload.rows == 3
    path.write_text(json.dumps({"msg": "filestream: json decode error: invalid character"}) + "\n")
    counted.rows = 7
    assert upload.rows == 3, "there may be a gap behind them"
    server.trouble = ServerSilentError("down")
    upload.check(8)
    assert upload.rows == 3
    server.trouble = None
    upload.check(8)
    assert upload.rows == 6, "wandb-core may have uploaded what the file does not hold yet"
    in_file = 9
    upload.check(9)
    assert server.lines == {100 + step: {"i": step} for step in range(3, 8)}
    assert upload.rows == 8
    upload.check(9)
    assert upload.rows == 8


def test_what_an_earlier_worker_may_have_lost_is_put_back_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(put_back, "history_rows", lambda path: ((step, {"i": step}) for step in range(5)))
    (tmp_path / "logs").mkdir()
    said = json.dumps({"msg": "filestream: json decode error: invalid character"}) + "\n"
    (tmp_path / "logs" / "debug-internal.log").write_text(said)
    server, folder = History(), Folder(str(tmp_path), str(tmp_path / "x.wandb"), "online", 0, base=10)
    put_back.put_back_earlier(cast(Server, server), RunName("e", "p", "r"), [folder], 13)
    assert server.lines == {10 + step: {"i": step} for step in range(3)}
    server.lines.clear()
    put_back.put_back_earlier(cast(Server, server), RunName("e", "p", "r"), [folder], 13)
    assert server.lines == {}


class Lines:
    """A server that answers what it is told."""

    def __init__(self) -> None:
        self.answer: int | ServerError = 0
        self.asked = threading.Semaphore(0)

    def lines(self, name: RunName) -> int:
        self.asked.release()
        if isinstance(self.answer, ServerError):
            raise self.answer
        return self.answer


def test_the_server_is_asked_until_it_has_everything_and_not_any_more() -> None:
    server = Lines()
    confirmer = Confirmer(server, RunName(None, "p", "r"), base=100)
    try:
        server.answer = ServerSilentError("down")
        confirmer.want(5, hurry=True)
        wait_until(lambda: confirmer.silent()[1] == "down", 10)
        server.answer = 105
        wait_until(lambda: confirmer.rows == 5, 10)
        assert confirmer.silent() == (0.0, "")
        while server.asked.acquire(blocking=False):
            pass
        assert not server.asked.acquire(timeout=1.5), "nothing is missing"
        server.answer = ServerRefusedError(401, "no")
        confirmer.want(6, hurry=True)
        wait_until(lambda: confirmer.refusal is not None, 10)
        server.answer = ServerUnsuitedError("what?")
        wait_until(lambda: confirmer.rows is None, 10)
    finally:
        confirmer.close()
