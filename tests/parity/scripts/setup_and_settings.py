import argparse
import json
import pathlib

import wandb

DEFAULTS = "wandb_version: 1\nlr: {desc: null, value: 1}\nfrom_defaults: {value: 2}\n"
pathlib.Path("config-defaults.yaml").write_text(DEFAULTS)
pathlib.Path("more.yaml").write_text("lr: {value: 3}\nfrom_paths: {value: {nested: [1, 2]}}\n")
wandb.setup(settings=wandb.Settings(config_paths=["more.yaml"], run_group="from setup", run_job_type="from setup"))
with wandb.init(project="p", id="first", config={"lr": 4, "own": 5}, job_type="own") as run:
    run.config.update_locked({"locked": 1}, "somebody")
    run.config.locked = 2
    run.config["locked"] = 3
    run.config.update({"locked": 4, "free": 5})
    run.config.merge_locked({"tree": {"a": 1}}, "somebody")
    run.config.merge_locked({"tree": {"b": 2}}, "somebody", _allow_val_change=True)
    print(sorted(run.config.items()), run.config_static.free, run.group, run.job_type)
wandb.teardown()
arguments = argparse.Namespace(lr=6, seed=7, out=pathlib.PurePosixPath("/x"))
with wandb.init(project="p", id="second", config=arguments, config_exclude_keys=["seed"]) as run:
    print(dict(run.config), run.group)
pathlib.Path("own.json").write_text(json.dumps({"wandb_version": 1, "from_json": {"value": [1, {"a": None}]}}))
with wandb.init(project="p", id="third", config="own.json", config_include_keys=["from_json"]) as run:
    print(dict(run.config), wandb.util.make_artifact_name_safe("a b/c"))
    print(wandb.helper.parse_config({"a": 1, "b": 2}, exclude=("a",)))
