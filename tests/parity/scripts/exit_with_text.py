import sys

import wandb

wandb.init(project="p", id="parity").log({"a": 1})
sys.exit("a message to stderr")
