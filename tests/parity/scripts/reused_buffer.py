import numpy as np
import wandb

run = wandb.init(project="p", id="parity")
buffer = np.zeros(4, dtype=np.float32)
row = {"values": buffer, "n": 0, "list": [0]}
for i in range(10):
    buffer[:] = i
    row["n"] = i
    row["list"][0] = i
    run.log(row)
    buffer[:] = -1
    row["n"] = -1
    row["list"][0] = -1
run.finish()
