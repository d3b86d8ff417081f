import wandb

for part in range(2):
    run = wandb.init(project="p", id="parity", resume="allow", config={"part": 1})
    for i in range(5):
        run.log({"a": i, "part": part})
    run.summary[f"part{part}"] = i
    run.finish()
