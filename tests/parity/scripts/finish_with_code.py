import wandb

run = wandb.init(project="p", id="parity")
run.log({"a": 1})
run.finish(exit_code=2)
print("after the end")
