"""The healthy run of the benchmark, for some seconds: nothing is raised, and every rule had something to judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from telemetryd.settings.rules import RULES
from tests.bench import healthy
from tests.fake_nvml.driver import FakeDriver, h100
from tests.fake_nvml.fixture import built
from tests.support.cgroups import control_group

__all__ = ["built"]


@pytest.mark.timeout(180)
def test_a_healthy_run_raises_nothing_while_every_rule_has_something_to_judge(
    built: FakeDriver, short_path: Path
) -> None:
    driver = FakeDriver(built.folder, short_path / "nvml")
    driver.update(h100(healthy.GPUS))
    with control_group() as group:
        if group is not None:
            group.limit_memory(healthy.MEMORY_LIMIT_BYTES)
        found = healthy.run(short_path / "w", driver, group, 6.0)
    assert found.well, (found.raised, found.events, found.rows, found.delivered)
    fed = {metric for rule, (metric, _, _) in healthy.FED.items() if rule != "cpu_throttled"}  # sampled every 10 s
    assert fed - found.seen.keys() <= (set() if group is not None else {"container_memory_percent"})
    lines = healthy.table(found).splitlines()
    assert [line.split("`")[1] for line in lines[2:]] == [rule.name for rule in RULES]
