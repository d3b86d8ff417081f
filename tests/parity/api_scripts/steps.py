"""Steps: given and not given, open rows."""

import importlib
import os

wandb = importlib.import_module(os.environ.get("PARITY_MODULE", "wandb"))

run = wandb.init(project="parity", config={"lr": 0.1})
seen = []


def log(*args, **kwargs):
    wandb.log(*args, **kwargs)
    seen.append(run.step)


log({"a": 1})
log({"a": 2, "b": 1})
log({"b": 2}, commit=False)
log({"a": 3})
log({"c": 1}, step=10)
log({"d": 1}, step=10)
log({"c": 2}, step=10)
log({"e": 5})
log({"a": 4})
log({"a": 5}, step=20, commit=True)
log({"a": 6}, commit=False)
log({"x": 1}, step=30)
log({"x": 2}, step=31)
log({"x": 3}, step=31, commit=True)
log({"y": 1})
run.summary["steps_seen"] = seen
wandb.finish()
