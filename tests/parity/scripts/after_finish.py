import wandb

run = wandb.init(project="p", id="parity")
run.log({"a": 1})
run.finish()
for call in (lambda: run.log({"a": 2}), lambda: wandb.log({"a": 3}), lambda: run.define_metric("x")):
    try:
        call()
        print("returned")
    except wandb.Error as error:
        print(type(error).__name__)
