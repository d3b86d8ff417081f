import wandb

wandb.init(project="p", id="parity", config={"lr": 0.1, "layers": [1, 2], "nested": {"a": {"b": 1}}})
wandb.config.batch = 32
wandb.config.update({"lr": 0.2}, allow_val_change=True)
wandb.config["text"] = "x"
for i in range(20):
    wandb.log({"a": i})
wandb.summary["best"] = 3
wandb.run.summary.update({"nested": {"x": 1.5}})
wandb.finish()
