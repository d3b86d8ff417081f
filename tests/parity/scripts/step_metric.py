import wandb

run = wandb.init(project="p", id="parity")
run.define_metric("epoch")
run.define_metric("train/*", step_metric="epoch", step_sync=True)
run.define_metric("hidden", hidden=True)
metric = run.define_metric("val/acc", step_metric="epoch", summary="max")
for epoch in range(4):
    run.log({"epoch": epoch})
    for i in range(3):
        run.log({"train/loss": 1 / (i + 1), "train/lr": 0.1})
    run.log({"val/acc": epoch / 10, "hidden": 1})
run.define_metric("val/acc", summary="min", overwrite=True)
run.log({"val/acc": 0.05, "epoch": 9})
run.finish()
