import wandb

first = wandb.init(project="p", id="parity1", reinit="create_new")
second = wandb.init(project="p", id="parity2", reinit="create_new")
for i in range(5):
    first.log({"a": i})
    second.log({"b": i * i})
second.finish()
first.log({"a": 100})
first.finish()
