import sys

import wandb

run = wandb.init(project="p", id="parity")
print("start")
for i in range(11):
    sys.stderr.write(f"\rprogress {i * 10:3d}% {'#' * i}")
    sys.stderr.flush()
sys.stderr.write("\n")
print("done")
run.finish()
