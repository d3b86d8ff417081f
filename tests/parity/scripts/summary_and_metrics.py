import wandb

with wandb.init(project="p", id="parity") as run:
    epoch = run.define_metric("epoch", hidden=True)
    run.define_metric("train/*", step_metric=epoch, summary="min,max")
    run.define_metric("train/acc", summary="max")
    run.define_metric("train/acc", summary="mean")
    run.define_metric("val/*", step_metric="epoch", step_sync=False)
    run.define_metric("val/loss", step_metric="epoch", summary="min,first")
    run.define_metric("val/loss", summary="last", overwrite=True)
    run.define_metric("silent", summary="none", hidden=True)
    for step in range(6):
        run.log({"train/loss": 1 / (step + 1), "train/acc": step % 4, "epoch": step // 2, "silent": step})
        run.log({"val/loss": abs(3 - step), "val/nested": {"a": step, "b": {"c": -step}}})
    run.summary["best"] = 0.25
    run.summary["tree"] = {"a": {"b": 1}}
    run.summary["tree"]["a"]["c"] = 2
    run.summary.update({"x": [1, 2], "y": {"z": "text"}})
    print(run.summary["best"], run.summary.get("missing", "default"), run.summary.best)
    print(sorted(set(run.summary.keys()) & {"best", "epoch", "tree", "x", "y", "silent"}))
    try:
        run.define_metric("a*b")
    except wandb.Error as error:
        print(str(error)[:60])
