"""What `telemetryd top` draws, from answers of every kind, on screens of every size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from telemetryd.cli.top_page import Seen, frame

NOW_S = 1_700_000_000.0


def run(key: str, **more: Any) -> dict[str, Any]:
    counts = {"offered": 1000, "delivered": 990, "dropped": {}, "pending": 10, "lag_s": 0.4, "step": 999, "newest": {}}
    return {"key": key, "name": None, "state": "running", "exit_code": None, **counts, **more}


def gpu(index: int, **values: float) -> dict[str, Any]:
    known = {"gpu_utilization_percent": 91.0, "gpu_memory_used_bytes": 40 * 2.0**30, "gpu_temperature_celsius": 63.0}
    known |= {"gpu_power_watts": 612.0, "gpu_power_limit_watts": 700.0, "gpu_sm_clock_mhz": 1980.0}
    return {"uuid": f"GPU-{index}", "index": index, "name": "NVIDIA H100 80GB HBM3", "memory_bytes": 80 << 30,
            "parent": None, "gpu_instance": None, "values": known | values}  # fmt: skip


def answer(**more: Any) -> dict[str, Any]:
    host = {"host_cpu_percent": 42.0, "host_load1": 7.5, "host_memory_used_percent": 60.0, "network_sent_bytes": 5e9}
    return {
        "daemon": {"version": "1.2", "pid": 7, "started_ns": int((NOW_S - 3700) * 1e9)}, "pending": 10, "dropped": {},
        "sessions": 2, "runs": [], "components": {}, "events": [],
        "machine": {"node": "node[7]", "host": host, "gpus": []}, **more,
    }  # fmt: skip


def drawn(
    told: dict[str, Any], rows: int = 0, columns: int = 140, before: Seen | None = None, renewed: Sequence[Seen] = ()
) -> list[str]:
    console = Console(width=columns, height=100, highlight=False, force_terminal=False)
    with console.capture() as capture:
        console.print(frame(Seen(told, 10.0), before, rows, columns, NOW_S, renewed))
    return capture.get().splitlines()


def test_runs_are_shown_with_their_newest_values_and_what_is_amiss() -> None:
    runs = [
        run("me/p/old", state="finished", exit_code=1),
        run("me/p/aa11", name="resnet [50]", newest={"loss": 0.123456, "phase": "warm[up]"}, dropped={"late": 3}),
        run("me/p/bb22", state="refused", trouble="W&B refuses the key", lag_s=7200.0, step=None),
    ]
    text = "\n".join(drawn(answer(runs=runs)))
    assert "telemetryd 1.2  on node[7]  up 1 h 1 min" in text
    assert "resnet [50]" in text
    assert "loss 0.12346  phase warm[up]" in text
    assert "! W&B refuses the key" in text
    assert "2 h" in text
    assert "exit 1" in text
    assert text.index("bb22") < text.index("old")  # what is over stands last


def test_rates_come_from_two_answers_of_the_same_daemon() -> None:
    before = answer(runs=[run("a/b/c", offered=500)])
    before["machine"]["host"]["network_sent_bytes"] = 4e9
    now = answer(runs=[run("a/b/c")])
    assert any(" 100 " in line and "c" in line for line in drawn(now, before=Seen(before, 5.0)))
    renewed = [Seen(before, 0.0), Seen(now, 10.0)]
    assert "out 95.4 MiB/s" in "\n".join(drawn(now, renewed=renewed))
    assert "out" not in "\n".join(drawn(now, renewed=renewed[1:]))
    before["daemon"]["pid"] = 8  # another one: its sums began anew
    assert "out" not in "\n".join(drawn(now, before=Seen(before, 5.0), renewed=renewed))
    assert not any(" 100 " in line for line in drawn(now, before=Seen(before, 5.0)))


def test_gpus_are_shown_with_what_slows_them_and_a_lost_one_is_not() -> None:
    devices = [gpu(0), gpu(1, gpu_throttled_thermal=1.0, gpu_throttled_power_cap=1.0), {**gpu(2), "values": {}}]
    told = answer()
    told["machine"]["gpus"] = [*devices, {**gpu(0), "parent": "GPU-0", "gpu_instance": 7}]
    wide = drawn(told)
    assert any(
        "H100 80GB HBM3" in line and "91 %" in line and "40.0/80 GiB" in line and "612/700 W" in line for line in wide
    )
    assert any("hot, power cap" in line for line in wide)
    assert any(line.lstrip().startswith("0/7") for line in wide)
    assert len([line for line in wide if "63 °C" in line]) == 3
    narrow = drawn(told, columns=80)
    assert any("91 %" in line and "40.0/80 GiB" in line and "63 °C" in line and "612/700 W" in line for line in narrow)


@pytest.mark.parametrize("columns", [20, 80, 200])
@pytest.mark.parametrize("rows", [4, 10, 24, 60])
def test_a_frame_fits_its_screen(rows: int, columns: int) -> None:
    events = [
        {"time_ns": int(NOW_S * 1e9) - 10**9, "kind": "xid", "code": 79, "message": "fell off", "run": "a/b/c"}
    ] * 40
    told = answer(runs=[run(f"a/b/run{number}", name="x" * 50) for number in range(30)], events=events)
    told["machine"]["gpus"] = [gpu(number) for number in range(min(8, rows // 3))]
    lines = drawn(told, rows, columns)
    assert all(len(line) <= columns for line in lines)
    if rows >= 24:  # what a smaller one lacks room for is cut by the screen
        assert len(lines) <= rows
        assert any("run0" in line or "x" * 10 in line for line in lines) or columns == 20


def test_events_say_how_long_ago_and_where() -> None:
    event = {"time_ns": int((NOW_S - 125) * 1e9), "kind": "gpu_lost", "message": "GPU [0] is lost", "gpu": 0, "rank": 3,
             "step": 17, "run": "me/p/aa", "fatal": True}  # fmt: skip
    assert any(
        "2 min 5 s ago  gpu_lost GPU [0] is lost  gpu 0, rank 3, step 17, me/p/aa" in line
        for line in drawn(answer(events=[event]))
    )


def test_what_is_amiss_now_stands_before_what_happened() -> None:
    found = {"rule": "disk", "subject": "/a", "time_ns": int((NOW_S - 60) * 1e9), "message": "/a is [96 %] full"}
    event = {"time_ns": int(NOW_S * 1e9), "kind": "gpu_back", "message": "it is back"}
    lines = drawn(answer(health={"active": [found]}, events=[event]), rows=24)
    amiss = next(number for number, line in enumerate(lines) if "! disk /a is [96 %] full  for 1 min" in line)
    assert amiss < next(number for number, line in enumerate(lines) if "it is back" in line)


def test_what_to_do_stands_below_what_is_amiss_where_there_is_room() -> None:
    found = {"rule": "disk", "time_ns": int(NOW_S * 1e9), "message": "/a is full", "advice": "make [some] room"}
    told = answer(health={"active": [found]}, runs=[run("a/b/c")])
    for rows in (0, 24):
        lines = drawn(told, rows=rows)
        at = next(number for number, line in enumerate(lines) if "! disk" in line)
        assert lines[at + 1].strip() == "→ make [some] room"
    crowded = answer(health={"active": [found]}, runs=[run(f"a/b/r{number}") for number in range(17)])
    lines = drawn(crowded, rows=24)
    assert any("! disk" in line for line in lines)
    assert not any("room" in line for line in lines)
    assert any("r16" in line for line in lines)


def test_an_older_daemons_answer_is_shown_without_what_it_does_not_tell() -> None:
    told = answer(runs=[{k: v for k, v in run("a/b/c").items() if k not in ("lag_s", "newest", "step")}])
    del told["machine"]
    assert any("running" in line for line in drawn(told))
