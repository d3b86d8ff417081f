import wandb

run = wandb.init(project="p", id="parity")
run.log({"loss": 1.0, "nested": {"a": 1, "b": {"c": 2}}})
run.summary["best"] = 0.5
run.summary["loss"] = 7
run.summary.update({"nested": {"b": {"d": 3}}, "list": [1, 2], "text": "x", "none": None})
run.summary["deep"] = {"x": {"y": 1}}
run.summary["deep"]["x"]["z"] = 2
run.log({"loss": 0.25})
print(run.summary["loss"], run.summary["deep"]["x"]["z"], run.summary.get("nothing"))
run.finish()
