import wandb

run = wandb.init(project="p", id="parity", name="named", notes="why", tags=["a", "b"], group="g", job_type="train")
for i in range(200):
    run.log({"train/loss": 1 / (i + 1), "train/acc": i / 200, "n": i})
run.finish()
