import wandb

run = wandb.init(project="p", id="parity", save_code=True)
run.log({"a": 1})
run.finish()
