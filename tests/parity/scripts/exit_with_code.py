import sys

import wandb

run = wandb.init(project="p", id="parity")
run.log({"a": 1})
sys.exit(3)
