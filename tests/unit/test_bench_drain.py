"""The benchmark of draining tells no rate where there is none."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tests.bench import drain, scene


@pytest.mark.parametrize("delivered", [40, 41])
def test_rows_that_are_all_through_at_the_first_look_are_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], delivered: int
) -> None:
    world: Any = SimpleNamespace(standin=None, worker_logs=str)
    monkeypatch.setattr(scene, "status", lambda world: {"delivered": delivered})
    monkeypatch.setattr(drain, "measure", lambda rows, online: drain.timed(world, rows))
    monkeypatch.setattr(sys, "argv", ["drain", "--rows", "40"])
    with pytest.raises(SystemExit) as ended:
        drain.main()
    assert ended.value.code == 2
    assert "all 40 rows were through" in (told := capsys.readouterr().err)
    assert "--rows" in told
