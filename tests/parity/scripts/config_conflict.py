import wandb

run = wandb.init(project="p", id="parity", config={"lr": 0.1})
try:
    run.config.lr = 0.2
except wandb.Error as error:
    print(type(error).__name__)
try:
    run.config.update({"lr": 0.3})
except wandb.Error as error:
    print(type(error).__name__)
run.config.update({"lr": 0.1})
run.log({"lr": run.config.lr})
run.finish()
