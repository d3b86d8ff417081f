import wandb

with wandb.init(project="p", id="parity") as run:
    run.log({"a": 1})
    run.log({"b": 2}, commit=False)
    run.log({"c": 3})
    run.log({"a": 10}, step=10)
    run.log({"b": 11}, step=10)
    run.log({"a": 20}, step=20, commit=True)
    run.log({"a": 21})
    for step in range(30, 60, 3):
        run.log({"a": step, "half": step / 2}, step=step)
    assert run.step >= 57, run.step
