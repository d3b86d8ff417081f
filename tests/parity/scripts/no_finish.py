import wandb

wandb.init(project="p", id="parity")
for i in range(5):
    wandb.log({"a": i}, step=i * 2)
