import wandb

run = wandb.init(project="p", id="parity", config={"a.b": 1, "a/b": 2, "with space": 3, "ключ": 4, "": 5})
run.log({"a.b": 1, "a/b/c": 2, "with space": 3, "ключ": 4, "x": {"y.z": 5, "w": {"z": 6}}})
run.log({'quote"d': 1, "back\\slash": 2, "new\nline": 3, "a" * 200: 4})
run.finish()
