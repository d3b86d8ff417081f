import sys

import wandb

run = wandb.init(project="p", id="parity")
for i in range(200):
    print(f"out {i}", flush=True)
    print(f"err {i}", file=sys.stderr, flush=True)
run.finish()
