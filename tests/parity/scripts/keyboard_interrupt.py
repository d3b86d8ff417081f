import time

import wandb

run = wandb.init(project="p", id="parity")
for i in range(3):
    time.sleep(0.5)  # as long as training takes before somebody interrupts it
    run.log({"a": i})
raise KeyboardInterrupt
