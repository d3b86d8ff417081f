import wandb

run = wandb.init(project="p", id="parity", settings=wandb.Settings(console="off"))
print("not in the run")
run.log({"a": 1})
run.write_logs("written by hand")
run.finish()
