import wandb

run = wandb.init(project="p", id="parity")
run.log({"a": 1})
raise RuntimeError("training broke")
