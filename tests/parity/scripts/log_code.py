import pathlib

import wandb

pathlib.Path("lib").mkdir()
pathlib.Path("lib/model.py").write_text("x = 1\n")
pathlib.Path("lib/notes.txt").write_text("notes\n")
with wandb.init(project="p", id="parity") as run:
    print(run.log_code("lib", include_fn=lambda path: False))
    artifact = run.log_code("lib", include_fn=lambda path, root: path.endswith((".py", ".txt")))
    print(artifact.name.partition(":")[0], artifact.type, sorted(artifact.manifest.entries))
    run.log({"a": 1})
