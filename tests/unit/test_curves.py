"""The sparklines at the end of `telemetryd run`."""

from __future__ import annotations

import json
import math
from pathlib import Path

from telemetryd.cli import curves
from telemetryd.cli.limits import CURVES_MAX, CURVES_MAX_FILE_BYTES
from tests.support.processes import python, running

LOGGING = """
import json, sys, wandb
settings = wandb.Settings(console="off", silent=True)
with wandb.init(project="curves", mode="offline", dir=sys.argv[1], settings=settings) as run:
    for row in json.loads(sys.argv[2]):
        run.log(row)
    directory = run.dir
print(directory)
"""


def logged(rows: list[dict[str, object]], folder: Path) -> str:
    """The run directory of an offline wandb run with these rows."""
    with running(python("-c", LOGGING, str(folder), json.dumps(rows)), folder) as training:
        assert training.wait(60) == 0, training.told()
        return str(Path(training.out().strip()).parent)


def test_the_last_value_and_the_course_of_each_number_are_read_from_the_runs_file(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"loss": 8 - step, "val": {"accuracy": step / 7}} for step in range(8)]
    rows[3]["note"] = "text is no curve"
    said = curves.lines(logged(rows, tmp_path))
    assert said == ["loss                   1  █▇▆▅▄▃▂▁", "val.accuracy           1  ▁▂▃▄▅▆▇█"]


def test_a_run_with_many_metrics_says_how_many_more_there_are(tmp_path: Path) -> None:
    said = curves.lines(logged([{f"m{number:03}": number for number in range(CURVES_MAX + 5)}], tmp_path))
    assert len(said) == CURVES_MAX + 1
    assert said[-1] == "… and 5 more"


def test_a_run_that_cannot_be_read_has_no_curves(tmp_path: Path) -> None:
    assert curves.lines(None) == []
    assert curves.lines(str(tmp_path / "gone")) == []
    (tmp_path / "run-x.wandb").write_bytes(b"something else entirely")
    assert curves.lines(str(tmp_path)) == []


def test_a_large_file_is_left_alone(tmp_path: Path) -> None:
    with (tmp_path / "run-x.wandb").open("wb") as file:
        file.truncate(CURVES_MAX_FILE_BYTES + 1)
    assert curves.lines(str(tmp_path)) == []


def test_a_sparkline_shows_what_cannot_be_drawn_as_space() -> None:
    assert curves.sparkline([1.0, math.nan, 2.0]) == "▁ █"
    assert curves.sparkline([math.inf, math.nan]) == "  "
    assert curves.sparkline([5.0, 5.0]) == "▁▁"
    assert curves.sparkline([-1.7e308, 1.7e308]) == "▁▁"  # their distance is no float any more
    assert len(curves.sparkline([float(n) for n in range(1000)], chars=40)) == 40
