import wandb

for number in range(2):
    run = wandb.init(project="p", id=f"parity{number}", config={"number": number}, group="pair")
    for i in range(5):
        run.log({"a": i * number})
    run.finish()
print(wandb.run)
