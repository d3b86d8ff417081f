import wandb

run = wandb.init(project="p", id="parity")
run.define_metric("epoch", hidden=True)
run.define_metric("val/*", step_metric="epoch")
run.define_metric("train/loss", summary="min,max,mean,last")
run.define_metric("acc", step_metric="epoch", summary="max")
for i in range(30):
    run.log({"epoch": i // 10, "train/loss": (i - 15) ** 2, "val/x": i, "acc": i % 7})
run.finish()
