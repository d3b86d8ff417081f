import wandb

run = wandb.init(project="p", id="parity")
for rule in ("min", "max", "mean", "first", "last", "none"):
    run.define_metric(f"m/{rule}", summary=rule)
run.define_metric("both", summary="min,max")
run.define_metric("best/*", summary="max")
for i in range(20):
    value = (i * 7) % 11 - 3
    row = {f"m/{rule}": value for rule in ("min", "max", "mean", "first", "last", "none")}
    run.log({**row, "both": value / 2, "best/a": value, "plain": value})
print(run.summary["both"]["min"], run.summary["plain"], run.summary.get("m/none"))
run.finish()
