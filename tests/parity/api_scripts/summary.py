"""Summaries: by the last value, by define_metric, by hand."""

import importlib
import math
import os

wandb = importlib.import_module(os.environ.get("PARITY_MODULE", "wandb"))

run = wandb.init(project="parity")
run.define_metric("epoch")
run.define_metric("train/*", step_metric="epoch")
run.define_metric("val/acc", summary="max,last", step_metric="epoch")
run.define_metric("val/loss", summary="min")
run.define_metric("mean", summary="mean,first")
run.define_metric("hidden", summary="none", hidden=True)
run.define_metric("nested.x", summary="max")
for epoch in range(5):
    run.log({"epoch": epoch, "train/loss": 1 / (epoch + 1)})
    run.log({"val/acc": [0.1, 0.5, 0.9, 0.7, 0.8][epoch], "val/loss": abs(2 - epoch), "epoch": epoch})
    run.log({"mean": epoch, "hidden": epoch, "nested": {"x": -epoch, "y": epoch}})
run.log({"gone": 1, "kept": 1})
run.log({"gone": None})
run.log({"not_a_number": math.nan})
run.summary["best"] = 0.9
run.summary["n"] = {"a": 1}
run.summary["n"] = {"a": 1, "b": {"c": 2}}
run.summary.update({"kept": 5, "mean": 7})
run.log({"mean": 1})
live = run.summary._as_dict()
run.config["live"] = {key: value for key, value in live.items() if not key.startswith("_")}
run.finish()
