import wandb

run = wandb.init(project="p", id="parity")
for i in range(5):
    run.log({f"layer{n}/{what}": n * i / 7 for n in range(100) for what in ("mean", "std")})
for i in range(500):
    run.log({"i": i})
run.finish()
