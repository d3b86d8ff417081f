import argparse

import wandb

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=1.0)
parser.add_argument("--layers", type=int, nargs="*", default=[1, 2])
run = wandb.init(project="p", id="parity", config=parser.parse_args())
run.config.setdefaults({"lr": 5.0, "seed": 1})
run.config.update({"optimizer": {"name": "adam", "betas": [0.9, 0.99]}, "none": None, "tuple": (1, 2)})
run.config["text"] = "☃"
run.config.epochs = 3
run.config.update({"lr": 0.5}, allow_val_change=True)
print(run.config.lr, run.config["seed"], "missing" in run.config, sorted(run.config.keys()), dict(run.config))
print(run.config.get("missing", "default"), run.config.as_dict() == dict(run.config))
run.finish()
