"""Values of many types in history, config and summary."""

import argparse
import datetime
import decimal
import enum
import importlib
import math
import os
import pathlib

import numpy as np
import torch

wandb = importlib.import_module(os.environ.get("PARITY_MODULE", "wandb"))


class Colour(enum.Enum):
    RED = 1


VALUES = {
    "int": 1,
    "float": 1.5,
    "bool": True,
    "str": "é",
    "inf": math.inf,
    "uint64": 2**64 - 1,
    "big": 2**70,
    "list": [1, "a", 2.5],
    "tuple": (1, 2),
    "nested": {"a": 1, "b": {"c": 2}},
    "bytes": b"abc",
    "enum": Colour.RED,
    "date": datetime.date(2020, 1, 2),
    "path": pathlib.Path("/a"),
    "decimal": decimal.Decimal("1.5"),
    "np32": np.float32(0.1),
    "np64": np.float64(0.1),
    "npint": np.int64(3),
    "npbool": np.bool_(True),
    "array": np.arange(3),
    "matrix": np.ones((2, 2)),
    "tensor": torch.tensor(0.25),
    "bf16": torch.tensor(0.5, dtype=torch.bfloat16),
    "vector": torch.arange(3),
}

run = wandb.init(project="parity", config=argparse.Namespace(batch=8, name="x"))
for key, value in VALUES.items():
    run.log({f"value/{key}": value})
run.log({"nan": math.nan, "none": None})
run.log(VALUES)
run.config.update({f"config/{key}": value for key, value in VALUES.items()})
run.config["later"] = (1, {"deep": np.float32(1)})
run.config.update({"batch": 16}, allow_val_change=True)
run.summary.update({f"set/{key}": value for key, value in VALUES.items() if key not in ("enum", "tensor")})
run.summary["set/colour"] = Colour.RED
run.finish()
