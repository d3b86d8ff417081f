import wandb

run = wandb.init(project="p", id="parity")
run.log({"a": 1}, step=5)
run.log({"a": 2}, step=7)
run.log({"a": 3}, step=2)
run.log({"a": 4}, step=8)
run.finish()
