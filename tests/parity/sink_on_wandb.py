"""Runs one of sink_scripts on wandb itself and prints its file: `python -m tests.parity.sink_on_wandb NAME FOLDER`."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import wandb

from tests.parity.sink_scripts import SCRIPTS


class OnWandb:
    def __init__(self, run: Any) -> None:
        self.run = run

    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        self.run.log(data, step=step, commit=commit)

    def config(self, update: dict[str, Any]) -> None:
        self.run.config.update(update, allow_val_change=True)

    def summary(self, path: list[str], value: Any) -> None:
        target = self.run.summary
        for key in path[:-1]:
            if key not in target.keys():  # noqa: SIM118 - wandb's summary has no __contains__
                target[key] = {}
            target = target[key]
        target[path[-1]] = value

    def unsummary(self, key: str) -> None:
        del self.run.summary[key]

    def metric(self, name: str, **options: Any) -> None:
        self.run.define_metric(name, **options)

    def array(self, values: list[float], shape: tuple[int, ...], dtype: str) -> Any:
        return np.array(values, dtype=dtype).reshape(shape)


if __name__ == "__main__":
    settings = wandb.Settings(console="off", silent=True)
    run = wandb.init(mode="offline", project="p", id="parity", dir=sys.argv[2], config={"first": 1}, settings=settings)
    SCRIPTS[sys.argv[1]](OnWandb(run))
    run.finish()
    print(run.settings.sync_file)
