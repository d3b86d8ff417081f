"""Logging scripts that run on wandb itself and, call by call, through records and the worker.

A script takes an object with `log`, `config`, `summary`, `define_metric`, and says what a user would say. Values that
the wire cannot carry as they are (arrays) come from `make`, so both sides get their own form.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol


class Run(Protocol):
    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None: ...

    def config(self, update: dict[str, Any]) -> None: ...

    def summary(self, path: list[str], value: Any) -> None: ...

    def unsummary(self, key: str) -> None: ...

    def metric(self, name: str, **options: Any) -> None: ...

    def array(self, values: list[float], shape: tuple[int, ...], dtype: str) -> Any: ...


def scalars(run: Run) -> None:
    for i in range(300):
        run.log({f"m{k}": i * 0.1 + k for k in range(10)} | {"i": i, "flag": i % 2 == 0})


def values(run: Run) -> None:
    odd = [float("nan"), float("inf"), float("-inf"), None, 0, -0.0, 1e16, 1e-320, 123456789.123456789, 2**53 + 1]
    odd += [2**63 - 1, -(2**63), 2**64 - 1, 2**70, -(2**80), True, False, "", "text", 'quo"te\n\\é\u2028😀', "nan"]
    for value in odd:
        run.log({"v": value, "in_list": [value], "in_dict": {"x": value}})
    run.log(
        {"list": [], "dict": {}, "deep": {"a": {"b": {"c": [1, {"d": None}]}}, "e": {}}, "mixed": [1, "a", 2.5, []]}
    )
    run.log({"": 1, "a.b": 2, "a/b": 3, "a": {"b": 4}, "_private": 5, "dots..": {"x.y": 1}})
    run.log({})


def arrays(run: Run) -> None:
    run.log({"small": run.array([1.0, 2.5], (2,), "<f8"), "one": run.array([3.0], (1,), "<f4")})
    run.log({"square": run.array([1.0, 2.0, 3.0, 4.0], (2, 2), "<f4")})
    run.log(
        {
            "large": run.array([i * 0.5 for i in range(100)], (10, 10), "<f8"),
            "n": {"x": run.array([1.0] * 64, (64,), "<f4")},
        }
    )


def steps(run: Run) -> None:
    run.log({"a": 1}, commit=False)
    run.log({"b": 2})
    run.log({"a": 3}, step=10)
    run.log({"b": 4}, step=10)
    run.log({"a": 5}, step=20, commit=True)
    run.log({"a": 6})
    run.log({"n": {"x": 1, "deep": {"p": 1}}}, commit=False)
    run.log({"n": {"y": 2, "deep": {"q": 2}}}, commit=False)
    run.log({"n": {"deep": {}}}, step=22, commit=True)
    run.log({"k": 1}, step=40, commit=False)
    run.log({"l": {"x": 1}}, step=40, commit=False)
    run.log({"l2": [1]}, step=41)
    run.log({"last": "open"}, commit=False)


def metrics(run: Run) -> None:
    run.metric("val/*", step_metric="epoch")
    run.metric("loss", summary="min,max,mean,last")
    run.metric("epoch", hidden=True)
    run.metric("acc", step_metric="epoch", summary="max", step_sync=True)
    run.metric("never", step_metric="unseen", step_sync=False)
    for i in range(30):
        row: dict[str, Any] = {"loss": 10 / (i + 1)}
        if i % 5 == 0:
            row |= {"epoch": i // 5, "val/x": i}
        if i % 7 == 0:
            row["acc"] = i / 30
        if i % 3 == 0:
            row["never"] = i
        run.log(row)


def config_and_summary(run: Run) -> None:
    run.config({"lr": 0.1, "layers": [1, 2], "nested": {"a": 1, "b": {"c": None}}, "big": 2**70, "nan": float("nan")})
    run.log({"loss": 1.0, "best": 0.1, "gone": 1})
    run.config({"lr": 0.2, "nested": {"b": 2}})
    run.summary(["best"], 0.5)
    run.summary(["deep", "x"], {"y": 1})
    run.summary(["deep", "z"], [1, None, "s"])
    run.summary(["nan"], float("nan"))
    run.unsummary("gone")
    run.log({"loss": 0.5})
    run.summary(["loss"], "overridden")


def random_calls(run: Run) -> None:
    choose = random.Random(7)
    step = 0
    for i in range(400):
        data: dict[str, Any] = {f"k{i % 13}": choose.random(), f"n{i % 5}": {f"x{i}": i}}
        kind = choose.randrange(5)
        if kind == 0:
            step += choose.randrange(1, 4) + 400
            run.log(data, step=step)
            run.log({f"fresh{i}": 1})
        elif kind == 1:
            run.log(data, commit=False)
            run.log({f"fresh{i}": 1})
        else:
            run.log(data)


SCRIPTS: dict[str, Callable[[Run], None]] = {
    script.__name__: script for script in (scalars, values, arrays, steps, metrics, config_and_summary, random_calls)
}
