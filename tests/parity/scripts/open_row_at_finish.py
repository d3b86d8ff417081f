import wandb

run = wandb.init(project="p", id="parity")
run.log({"a": 1})
run.log({"a": 2, "left": "open"}, commit=False)
run.log({"b": 3}, commit=False)
run.finish()
