"""Ranks of one run: whose rows are the history, what joins it and when a row waits no longer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from client.protocol.records import Clock, Rank, Row
from telemetryd.runs import rank_join, ranks
from telemetryd.runs.ranks import Ranks
from telemetryd.runs.rows import RowAssembly

S = 10**9


class Job:
    """A run with ranks, fed by hand: `log` calls in the order of arrival."""

    def __init__(self, policy: str = "aggregate", world: int = 2, timeout_s: float = 30.0, **rank: Any) -> None:
        self.ranks = Ranks()
        self.rows = RowAssembly()
        self.out: list[tuple[int, dict[str, Any]]] = []
        self.policy, self.world, self.timeout_s, self.more = policy, world, timeout_s, rank

    def start(self, *which: int, at_s: int = 1, name: str = "s", world: int | None = None, restart: int = 0) -> None:
        for rank in which or range(self.world):
            record = Rank(rank, world or self.world, at_s * S, restart=restart, policy=self.policy,
                          timeout_s=self.timeout_s, **self.more)  # fmt: skip
            self.feed(self.ranks.join(f"{name}{rank}", record))

    def log(self, session: str, step: int, at_s: float, data: dict[str, Any] | None = None, **flags: Any) -> None:
        row = Row(step, int(at_s * S), {"v": step} if data is None else data, **flags)
        self.feed(self.ranks.row(session, row, msgspec.msgpack.encode(row)))

    def feed(self, calls: Any) -> None:
        for call in calls:
            self.out += [(row.step, row.data) for row in self.rows.add(*call)]

    def end(self, session: str) -> None:
        self.feed(self.ranks.end(session))

    def finish(self) -> list[tuple[int, dict[str, Any]]]:
        self.feed(self.ranks.finish())
        self.out += [(row.step, row.data) for row in self.rows.finish()]
        return self.out

    def steps(self) -> list[int]:
        return [step for step, _ in self.out]


def test_under_main_rank_zero_is_the_history_and_the_others_are_left_out_and_counted() -> None:
    job = Job("main")
    job.start()
    job.log("s0", 0, 1, {"v": 1.0})
    job.log("s1", 0, 1, {"v": 2.0})
    assert job.finish() == [(0, {"v": 1.0})]
    assert (job.ranks.absorbed, job.ranks.left_out) == (1, 1)


def test_under_all_every_rank_has_series_of_its_own_beside_rank_zeros_history() -> None:
    job = Job("all")
    job.start()
    job.log("s0", 0, 1, {"v": 1.0, "image": {"nested": [1, "x"]}})
    job.log("s1", 0, 1, {"v": 2.0, "text": "b"})
    nested = {"nested": [1, "x"]}
    wanted = {"v": 1.0, "image": nested, "rank0/v": 1.0, "rank0/image": nested, "rank1/v": 2.0, "rank1/text": "b"}
    assert job.finish() == [(0, wanted)]


def test_patterns_choose_by_key() -> None:
    job = Job("main,loss=aggregate,gpu/*=all")
    job.start()
    job.log("s0", 0, 1, {"loss": 1.0, "gpu/t": 50, "acc": 0.5})
    job.log("s1", 0, 1, {"loss": 3.0, "gpu/t": 60, "acc": 0.7})
    ((_, row),) = job.finish()
    assert row == {
        "loss": 1.0, "gpu/t": 50, "acc": 0.5, "rank0/gpu/t": 50, "rank1/gpu/t": 60, "loss/rank_mean": 2.0,
        "loss/rank_min": 1.0, "loss/rank_max": 3.0, "loss/rank_std": 1.0, "loss/rank_argmin": 0, "loss/rank_argmax": 1,
    }  # fmt: skip


def test_only_numbers_are_aggregated_nested_ones_under_dotted_names() -> None:
    job = Job()
    job.start()
    for rank in (0, 1):
        job.log(f"s{rank}", 0, 1, {"train": {"loss": rank, "name": "x"}, "flag": True, "text": "t", "_timestamp": 5.0})
    ((_, row),) = job.finish()
    assert {key for key in row if "rank" in key} == {
        f"train.loss/rank_{name}" for name in ("mean", "min", "max", "std", "argmin", "argmax")
    }
    assert row["train"] == {"loss": 0, "name": "x"}


def test_a_nan_shows_in_every_figure_and_the_extremes_name_its_rank() -> None:
    job = Job(world=3)
    job.start()
    for rank, value in enumerate((1.0, float("nan"), 3.0)):
        job.log(f"s{rank}", 0, 1, {"v": value})
    ((_, row),) = job.finish()
    assert (row["v/rank_argmin"], row["v/rank_argmax"]) == (1, 1)
    assert all(row[f"v/rank_{name}"] != row[f"v/rank_{name}"] for name in ("mean", "min", "max", "std"))


@pytest.mark.parametrize("values", [(1e308, 1e308), (float("inf"), float("-inf")), (1e200, -1e200), (2**70, 1)])
def test_numbers_beyond_all_bounds_raise_nothing(values: tuple[float, float]) -> None:
    job = Job()
    job.start()
    for rank, value in enumerate(values):
        body = {"v": value if isinstance(value, float) else float(value)}
        job.log(f"s{rank}", 0, 1, body)
    assert len(job.finish()) == 1


def test_a_row_waits_for_a_rank_that_is_behind_and_is_written_when_it_comes() -> None:
    job = Job()
    job.start()
    for step in range(1000):
        job.log("s0", step, step / 100)
    assert job.out == []
    for step in range(1000):
        job.log("s1", step, step / 100)
        assert job.steps() == list(range(step + 1))
    assert job.ranks.given_up == 0


def test_a_rank_that_never_logs_costs_the_timeout_once_and_rows_say_how_many_ranks_they_have() -> None:
    job = Job(world=3)
    job.start()
    for step in range(100):
        for rank in (0, 1):
            job.log(f"s{rank}", step, step)
    assert job.steps() == list(range(100)), "once it was given up, nothing waits for it any more"
    assert all(row[rank_join.RANKS_KEY] == 2 for _, row in job.out)
    assert job.ranks.view()["missing"] == [2]


def test_a_rank_that_never_comes_is_given_up_alike() -> None:
    job = Job(world=3)
    job.start(0, 1)
    for step in range(29):
        for rank in (0, 1):
            job.log(f"s{rank}", step, step)
    assert job.out == []
    for step in range(29, 40):
        for rank in (0, 1):
            job.log(f"s{rank}", step, step)
    assert job.steps() == list(range(40))


def test_a_rank_that_was_given_up_counts_again_once_it_has_caught_up() -> None:
    job = Job()
    job.start()
    for step in range(31):
        job.log("s0", step, step)
    assert job.steps() == list(range(31))
    job.log("s1", 30, 40)  # too late for its step
    assert (job.ranks.late, job.ranks.view()["missing"]) == (1, [1])
    job.log("s1", 31, 41)
    assert job.ranks.view()["missing"] == []
    job.log("s0", 31, 41)
    job.log("s0", 32, 42)
    assert job.steps()[-1] == 31, "step 32 waits for rank 1 again"
    assert rank_join.RANKS_KEY not in job.out[-1][1]


def test_the_history_waits_for_the_main_rank_as_long_as_it_lives() -> None:
    job = Job()
    job.start()
    for step in range(200):
        job.log("s1", step, step)
    assert job.out == []
    assert not job.ranks.flushable
    job.log("s0", 0, 500)
    assert job.steps() == [0]
    job.end("s0")
    assert job.steps() == list(range(200))
    assert [row.get("v") for _, row in job.out[:2]] == [0, None]


def test_values_that_come_too_late_for_their_row_are_kept_as_late_rows_where_they_are_series() -> None:
    job = Job("all")
    job.start()
    for step in range(40):
        job.log("s0", step, step)
    job.log("s1", 3, 50, {"v": 7}, explicit=True)
    rows = job.finish()
    assert rows[-1] == (40, {"rank1/v": 7, "late_step": 3})


def test_steps_that_are_replayed_after_a_restore_become_late_rows_and_none_vanishes() -> None:
    job = Job(world=2)
    job.start()
    for step in range(10):
        for rank in (0, 1):
            job.log(f"s{rank}", step, step, explicit=True)
    for rank in (0, 1):
        job.feed(job.ranks.end(f"s{rank}"))
    job.start(at_s=100, name="t", restart=1)
    for step in range(7, 13):
        for rank in (0, 1):
            job.log(f"t{rank}", step, 100 + step, {"v": step, "again": 1}, explicit=True)
    rows = job.finish()
    assert [step for step, row in rows if "late_step" not in row] == list(range(13))
    assert [row["late_step"] for _, row in rows if "late_step" in row] == [7, 8, 9]
    assert all(row["again"] == 1 for _, row in rows if "late_step" in row)


def test_a_restarted_group_that_counts_its_own_steps_goes_on_behind_the_last_one() -> None:
    job = Job(world=2)
    job.start()
    for step in range(5):
        for rank in (0, 1):
            job.log(f"s{rank}", step, step)
    job.log("s0", 5, 5)  # rank 1 was killed before it logged this
    job.end("s1")
    job.end("s0")
    job.start(at_s=60, name="t", restart=1)
    for step in range(3):
        for rank in (1, 0):
            job.log(f"t{rank}", step, 60 + step, {"v": 100 + step})
    rows = job.finish()
    assert [(step, row.get("v")) for step, row in rows] == [*((n, n) for n in range(6)), (6, 100), (7, 101), (8, 102)]
    assert [row.get(rank_join.RANKS_KEY) for _, row in rows] == [None] * 5 + [1] + [None] * 3


def test_a_world_of_four_then_two_then_four_waits_for_those_that_there_are() -> None:
    job = Job(world=4)
    for number, world in enumerate((4, 2, 4)):
        job.start(*range(world), at_s=100 * number + 1, name=f"{number}-", world=world)
        for step in range(3):
            for rank in range(world):
                job.log(f"{number}-{rank}", step, 100 * number + step, {"v": float(rank)})
        for rank in range(world):
            job.end(f"{number}-{rank}")
    assert [(step, row["v/rank_argmax"]) for step, row in job.out] == [
        *((n, 3) for n in range(3)), *((n, 1) for n in range(3, 6)), *((n, 3) for n in range(6, 9)),
    ]  # fmt: skip
    assert all(rank_join.RANKS_KEY not in row for _, row in job.out)


def test_what_a_killed_rank_left_in_its_spool_still_finds_its_row() -> None:
    """The new ranks are there already when the old one's last rows are adopted."""
    job = Job()
    job.start()
    job.log("s0", 0, 1)
    job.log("s1", 0, 1)
    job.log("s0", 1, 2, {"v": 10.0})
    job.start(at_s=10, name="t", restart=1)
    job.log("t0", 0, 10)
    job.log("t1", 0, 10)
    assert job.steps() == [0], "the old sessions may have more to say"
    job.log("s1", 1, 2, {"v": 20.0})
    for session in ("s0", "s1"):
        job.feed(job.ranks.end(session))
    assert job.steps() == [0, 1, 2]
    assert job.out[1][1]["v/rank_mean"] == 15.0


def test_an_earlier_start_that_is_heard_of_only_now_is_not_taken_for_a_new_one() -> None:
    job = Job(world=3)
    job.start(0, 1, at_s=1, name="a")
    job.start(0, 1, at_s=2000, name="b")
    job.start(2, at_s=2, name="a")
    job.start(2, at_s=2001, name="b")
    assert job.ranks.view()["starts"] == 2


def test_rows_of_others_are_kept_until_rank_zero_has_come() -> None:
    job = Job("main")
    job.start(1)
    job.log("s1", 0, 1)
    assert job.ranks.waiting == 1
    job.start(0)
    job.log("s0", 0, 2, {"v": 5})
    assert job.finish() == [(0, {"v": 5})]


def test_a_program_that_logs_from_its_last_rank_alone_has_its_rows_written() -> None:
    job = Job("main", world=8)
    job.start(7)
    for step in range(20):
        job.log("s7", step, step)
    assert job.finish() == [(step, {"v": step}) for step in range(20)]
    assert job.ranks.left_out == 0
    other = Job("main", world=8)
    other.start(7)
    other.log("s7", 0, 1)
    assert other.ranks.flushable
    assert other.finish() == [(0, {"v": 0})]


def test_a_process_that_no_launcher_numbered_is_rank_zero_of_the_ranks_it_started() -> None:
    job = Job(world=3)
    job.log("main", 0, 1, {"setup": 1})
    job.start(1, 2)
    for step in range(1, 4):
        job.log("main", step, step, {"v": 0.0})
        for rank in (1, 2):
            job.log(f"s{rank}", step, step, {"v": float(rank)})
    rows = job.finish()
    assert rows[0] == (0, {"setup": 1})
    assert [row["v/rank_mean"] for _, row in rows[1:]] == [1.0, 1.0, 1.0]


def test_the_budget_of_series_leaves_further_ones_out_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    job = Job("all", series_max=3)
    job.start()
    for step in range(2):
        for rank in (0, 1):
            job.log(f"s{rank}", step, step, {"a": 1, "b": 2})
    rows = job.finish()
    assert all(sum(key.startswith("rank") for key in row) == 3 for _, row in rows)
    assert (job.ranks.view()["series"], job.ranks.view()["over_budget"]) == (3, 2)
    assert [record.message for record in caplog.records if "series_budget_spent" in record.message]
    assert len(caplog.records) == 1


def test_rows_that_wait_are_bounded_in_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "JOIN_MAX_BYTES", 2000)
    job = Job()
    job.start()
    for step in range(200):
        job.log("s1", step, 0)
    assert job.ranks._join.size_bytes <= 2000 + 100
    assert job.steps()[:3] == [0, 1, 2]


def test_the_slowest_rank_is_told_by_its_own_clock() -> None:
    job = Job("main", world=4)
    job.start()
    for step in range(50):
        for rank in range(4):
            job.log(f"s{rank}", step, 1000 * rank + step * (0.15 if rank == 2 else 0.1))
    view = job.ranks.view()
    assert (view["slowest"], view["slowest_step_s"], view["median_step_s"]) == (2, 0.15, 0.1)
    assert view["slower_by"] == 0.5
    assert job.ranks.summary()["slowest"] == 2


def test_clocks_are_told_by_rank() -> None:
    job = Job()
    job.start()
    job.ranks.clock("s1", Clock(5, -2_000_000_000, 1000))
    assert job.ranks.view()["clock_offsets_s"] == {"1": -2.0}


def test_a_run_without_ranks_passes_untouched() -> None:
    job = Job()
    job.log("s0", 0, 1)
    job.log("s1", 0, 1)
    assert job.finish() == [(0, {"v": 0}), (1, {"v": 0})]
    assert job.ranks.view() == {}


@pytest.mark.parametrize("record", [Rank(4, 4, 1), Rank(-1, 4, 1), Rank(0, 10**9, 1)])
def test_numbers_that_make_no_rank_are_refused(record: Rank) -> None:
    assert Ranks().join("s", record) == []
    machine = Ranks()
    machine.join("s", record)
    assert not machine.active


def test_ends_of_strangers_change_nothing() -> None:
    job = Job()
    job.end("nobody")
