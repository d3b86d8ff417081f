"""The benchmark of `watch` measures a model of ResNet-18's size, and shows what a step costs more."""

from __future__ import annotations

from tests.bench import watch
from tests.support.requirements import require_module


def test_the_model_is_as_large_as_resnet_18() -> None:
    require_module("torch")
    parameters = list(watch.resnet18().parameters())
    assert (sum(parameter.numel() for parameter in parameters), len(parameters)) == (11_689_512, 62)


def test_the_table_shows_the_difference_of_the_medians_of_cpu_time() -> None:
    found = {"unwatched": [(0.2, 0.1)] * 3, "client": [(0.3, 0.11)] * 3, "wandb": [(0.9, 0.4), (0.8, 0.5), (1.0, 0.6)]}
    rows = watch.table("1000 2", found).splitlines()[-3:]
    assert [row.split("|")[2:5] for row in rows] == [
        [" 200 ms ", " 100 ms ", "  "], [" 300 ms ", " 110 ms ", " 10 ms "], [" 900 ms ", " 500 ms ", " 400 ms "],
    ]  # fmt: skip
