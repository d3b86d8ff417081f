import wandb

run = wandb.init(project="p", id="parity")
for i in range(3):
    run.log({"a": i})
raise KeyboardInterrupt
