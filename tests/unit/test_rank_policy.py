"""The policy for ranks as text, as a map, and in settings."""

from __future__ import annotations

import pytest

from client import policy
from client.protocol import rank_policy
from client.protocol.rank_policy import RankPolicy
from client.settings import SettingError, resolve


def test_the_first_pattern_that_matches_decides_and_the_bare_word_is_for_the_rest() -> None:
    parsed = rank_policy.parse("aggregate, gpu/*=all, gpu/temp=main , step_*=main")
    assert parsed == RankPolicy("aggregate", (("gpu/*", "all"), ("gpu/temp", "main"), ("step_*", "main")))
    found = {key: parsed.of(key) for key in ("loss", "gpu/temp", "step_s", "_runtime")}
    assert found == {"loss": "aggregate", "gpu/temp": "all", "step_s": "main", "_runtime": "main"}
    assert rank_policy.parse(parsed.text()) == parsed


@pytest.mark.parametrize(("given", "joins"), [("", False), ("main", False), ("all", True), ("main,a=aggregate", True)])
def test_it_says_whether_ranks_are_joined(given: str, joins: bool) -> None:
    assert rank_policy.parse(given).joins is joins


def test_a_map_says_the_same() -> None:
    assert rank_policy.parse({"*": "all", "loss": "main"}) == rank_policy.parse("all,loss=main")


@pytest.mark.parametrize(
    "given", ["most", "loss=most", "aggregate,loss", {"a,b": "all"}, 7, "a=b=all", {"x" * 5000: "all"}]
)
def test_what_is_none_is_refused_with_what_is_allowed(given: object) -> None:
    with pytest.raises(ValueError, match=r"main, aggregate or all|pattern|longer|text"):
        rank_policy.parse(given)  # type: ignore[arg-type]


def test_settings_win_over_the_environment_and_name_what_is_wrong() -> None:
    environ = {"TELEMETRYD_RANKS": "all", "TELEMETRYD_RANKS_TIMEOUT_S": "2min", "TELEMETRYD_RANKS_SERIES_MAX": "7"}
    found = policy.resolve({"ranks": {"loss": "aggregate"}}, environ)
    assert (found.ranks, found.ranks_timeout_s, found.ranks_series_max) == ("main,loss=aggregate", 120.0, 7)
    with pytest.raises(SettingError, match="environment variable TELEMETRYD_RANKS='some'"):
        resolve({}, None, {"TELEMETRYD_RANKS": "some"})
    with pytest.raises(SettingError, match="ranks_series_max='-1'"):
        resolve({}, {"ranks_series_max": "-1"}, {})
