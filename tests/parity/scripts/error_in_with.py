import wandb

try:
    with wandb.init(project="p", id="parity") as run:
        run.log({"a": 1})
        raise ValueError("inside")
except ValueError as error:
    print("caught", error)
