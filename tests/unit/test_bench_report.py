"""What a benchmark's results are written as: goals, tables, documents; and what is run, on a small scale."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from array import array
from pathlib import Path
from typing import Any

import pytest

from tests.bench import blocks, docs, report, sections
from tests.bench.cpu import Tree, come_to_rest, process_s
from tests.bench.environments import ROOT, AbsentError, requirement
from tests.bench.figures import Samples, figures, slowdown_percent, spread
from tests.bench.goals import evaluate
from tests.bench.measure import PARTS, ordered
from tests.bench.peers import PEERS, load
from tests.bench.peers.base import Peer
from tests.bench.plan import FULL, QUICK

NAMES = ("noop", "encode", "client", "wandb")


def calls_of(us: float, count: int = 1000) -> dict[str, Any]:
    """Figures of `count` calls that all took `us`."""
    return figures(Samples([array("q", [round(us * 1000)] * count)], [us / 1e6]))


def cpu_of(process_us: float, tree_us: float) -> dict[str, Any]:
    return {
        "process_us": process_us, "tree_us": tree_us, "process_us_over_rounds": spread([process_us]),
        "tree_us_over_rounds": spread([tree_us]), "rows": 100, "rounds": 1,
    }  # fmt: skip


def results() -> dict[str, Any]:
    """Every part, with figures of which some meet their goals and some do not; as JSON gives them back."""
    of_calls = dict(zip(NAMES, map(calls_of, (0.1, 0.5, 0.9, 90.0)), strict=True))
    made = {
        "mode": "full", "date": "2026-01-02 03:04 UTC", "took_s": 90.0, "artifact_mb": 500,
        "machine": {"cores": 2, "cpu": "a CPU", "system": "Linux", "python": "3.11", "load_before": 0.5,
                    "msgspec": "1", "pyzmq": "2", "wandb": "3", "commit": "abc"},
        "versions": {"wandb": "0.31.0"}, "titles": {name: load(name).title for name in PEERS},
        "names": {name: load(name).name for name in PEERS},
        "scenarios": [{"name": one.name, "title": one.title} for one in FULL.calls],
        "calls": {"back_to_back": of_calls, "at_1_khz": of_calls, "contended": of_calls, "numpy": of_calls},
        "cpu": {"noop": cpu_of(0.1, 0.1), "client": cpu_of(4.0, 50.0), "wandb": cpu_of(80.0, 200.0)},
        "steps": {"client": {"slowdown_percent": slowdown_percent([(1000, 1010)]), "blocks": 1}},
        "growth": {name: dict.fromkeys(FULL.growth, calls_of(us, 20)) for name, us in (("encode", 1), ("client", 2))},
        "images": {"client": calls_of(100.0, 3), "wandb": calls_of(40_000.0, 3)},
        "artifacts": {"client": calls_of(1000.0, 3), "wandb": calls_of(50_000.0, 3)},
        "starts": {"client": {"ms": 55.0, "mb": 14.0, "ms_over_starts": spread([55.0]), "starts": 3}},
        "durability": {"client": {"logged": 1000, "kept": [1000, 1000]}, "wandb": {"logged": 1000, "kept": [950, 0]}},
        "stopped": {"client": {"longest_ms": 0.2, "stopped_for_s": 5.0}},
        "absent": {"mlflow": "install: no matching distribution"}, "left_out": {}, "last_words": {},
    }  # fmt: skip
    found: dict[str, Any] = json.loads(json.dumps(made))
    return found


def test_a_goal_is_met_not_met_or_not_measured() -> None:
    met = {goal.what: goal.met for goal in evaluate(results())}
    assert met["10 floats, back to back: median over encode alone"] is True
    assert met["10 torch CPU scalars: median over 10 floats"] is None
    assert met["CPU of the training process per row"] is False
    assert met["CPU of the whole tree per row, over wandb's"] is True
    assert met["slowdown of a 1 ms step that logs once"] is True
    assert met["512x512 RGB image: median"] is True
    assert met["artifact call, 500 MB: median"] is False
    assert met["`import` + `init`: memory"] is True


def test_a_table_has_a_row_for_each_peer_with_ratios_to_ours_and_to_encode_alone() -> None:
    lines = sections.calls(results(), results()["scenarios"][0])
    assert lines[0] == "**10 Python floats, back to back**"
    assert [line.count("|") for line in lines[2:-1]] == [11] * 6
    wandb = next(line for line in lines if line.startswith("| `wandb.log`"))
    assert wandb.split(" | ")[6:8] == ["100x", "180x"]


def test_what_a_call_costs_by_its_keys_and_size_has_a_column_for_each_peer() -> None:
    lines = sections.growth(results())
    assert lines[2] == "| a row of | encode alone | telemetryd |"
    assert "| 1,000 floats | 1.00 µs | 2.00 µs |" in lines
    assert "| a str of 1,000,000 bytes | 1.00 µs | 2.00 µs |" in lines
    assert [len(str(blocks.rows(1, 1, kind)[0].get("text", ""))) for kind in ("keys:7", "text:100")] == [0, 100]
    assert len(blocks.rows(1, 1, "keys:7")[0]) == 7


def test_a_part_without_figures_is_no_table_and_an_absent_peer_is_told_with_its_reason() -> None:
    text = report.markdown(results() | {"stopped": {}})
    assert "stopped for" not in text
    assert "torch CPU scalars, back to back**" not in text
    assert "Absent: mlflow: install: no matching distribution." in text


def test_the_results_of_a_quick_run_say_what_they_are() -> None:
    assert "A quick run" in report.markdown(results() | {"mode": "quick"})
    assert "A quick run" not in report.markdown(results())


def test_results_are_written_as_markdown_json_and_plots(tmp_path: Path) -> None:
    report.write(tmp_path, results())
    assert json.loads((tmp_path / "bench.json").read_text()) == results()
    assert "| telemetryd `client.log` |" in (tmp_path / "bench.md").read_text()
    # In a process of its own: matplotlib keeps its fonts open.
    code = "import json, pathlib; from tests.bench import plots; here = pathlib.Path('.');"
    code += "plots.write(here, json.loads((here / 'bench.json').read_text()))"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    drawn = {path.name: path.read_bytes()[:4] for path in tmp_path.glob("*.png")}
    assert drawn == dict.fromkeys(("latency.png", "cpu.png", "durability.png"), b"\x89PNG")


def test_a_block_of_a_document_is_replaced_between_its_markers() -> None:
    text = f"before\n{docs.TABLES[0]}old\n{docs.TABLES[1]}\nafter\n"
    assert docs.replaced(text, docs.TABLES, "new\n") == f"before\n{docs.TABLES[0]}new\n{docs.TABLES[1]}\nafter\n"
    with pytest.raises(ValueError, match="has no"):
        docs.replaced("without", docs.TABLES, "new\n")


def test_the_documents_have_the_markers_that_results_are_put_between() -> None:
    page, readme = docs.PAGE.read_text(), docs.README.read_text()
    assert docs.replaced(docs.replaced(page, docs.SUMMARY, ""), docs.TABLES, "") != page
    assert docs.replaced(readme, docs.SUMMARY, "") != readme


def test_every_peer_is_a_class_with_a_title_and_its_requirement_is_pinned() -> None:
    for name in PEERS:
        assert issubclass(load(name), Peer)
        assert load(name).name
        assert load(name).title
        line = requirement(name)
        assert line is None or "==" in line
    with pytest.raises(AbsentError, match="is not in"):
        requirement("mlflow", "wandb==1\n")


def test_the_quick_mode_measures_less_of_the_same_and_installs_nothing() -> None:
    assert {one.name for one in QUICK.calls} == {one.name for one in FULL.calls} - {"torch"}
    assert sum(one.rounds * one.calls for one in QUICK.calls) < sum(one.rounds * one.calls for one in FULL.calls) / 5
    assert [requirement(name) for name in QUICK.peers] == [None] * len(QUICK.peers)


def test_figures_stand_in_the_order_of_the_peers() -> None:
    assert list(ordered({"wandb": 1, "noop": 2}, NAMES)) == ["noop", "wandb"]
    assert set(PARTS) <= set(results())


def test_timed_calls_leave_out_the_warm_up_and_keep_the_pace() -> None:
    seen: list[Any] = []
    data = blocks.rows(12, seed=1)
    begun = time.perf_counter()
    taken = blocks.timed(seen.append, data, period_ns=1_000_000, warm_up=2)
    assert len(taken) == 10
    assert seen == data
    assert time.perf_counter() - begun >= 0.011
    assert blocks.rows(2, seed=1) == data[:2]
    assert data[0] != data[1]


def test_every_second_step_logs() -> None:
    seen: list[Any] = []
    pairs = blocks.steps(seen.append, blocks.rows(4, seed=1), turns=2000, pairs=2)
    assert len(seen) == 4
    assert len(pairs) == 2
    assert all(bare > 0 and logging > 0 for bare, logging in pairs)


def test_the_thread_that_contends_for_the_interpreter_ends_with_its_block() -> None:
    with blocks.interpreter_contended(True):
        assert any(thread.name == "bench hog" for thread in threading.enumerate())
    assert not any(thread.name == "bench hog" for thread in threading.enumerate())


def test_the_cpu_time_of_a_process_is_its_own_clock() -> None:
    before_s = process_s(os.getpid())
    blocks.work(200_000)
    after_s = process_s(os.getpid())
    assert before_s is not None
    assert after_s is not None
    assert after_s > before_s
    assert Tree(os.getpid()).used_s() >= after_s
    assert process_s(2**22 + 1) is None


def test_rest_comes_when_a_tree_does_nothing_and_is_given_up_at_the_deadline() -> None:
    assert come_to_rest([], window_s=0.001)
    assert not come_to_rest([Tree(os.getpid())], window_s=0.001, share=-1.0, deadline_s=0.01)
