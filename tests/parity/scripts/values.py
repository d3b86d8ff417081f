import math

import numpy as np
import torch
import wandb

run = wandb.init(project="p", id="parity")
run.log({"float": 0.1, "int": 3, "bool": True, "none": None, "str": "text ☃", "empty": ""})
run.log({"nan": math.nan, "inf": math.inf, "ninf": -math.inf, "big": 2**70, "negative": -(2**65), "tiny": 5e-324})
run.log(
    {
        "np32": np.float32(0.1),
        "np64": np.float64(0.1),
        "npi": np.int64(7),
        "npb": np.bool_(True),
        "np16": np.float16(0.1),
    }
)
run.log({"torch": torch.tensor(0.25), "torch_int": torch.tensor(3), "bf16": torch.tensor(0.5, dtype=torch.bfloat16)})
run.log({"grad": torch.tensor([1.0], requires_grad=True).sum(), "np_nan": np.float32("nan")})
run.log({"nested": {"a": 1, "b": {"c": 2.5, "d": None}}, "list": [1, 2.5, "x", None], "tuple": (1, 2)})
run.log({"array": np.arange(5), "tensor": torch.arange(4.0), "matrix": np.eye(3)})
run.log({"list_of_dicts": [{"a": 1}, {"b": [1, 2]}], "deep": {"x": {"y": {"z": [1]}}}})
run.finish()
