import wandb

run = wandb.init(project="p", id="parity", name="first", tags=["one"], notes="before")
run.name = "second"
run.notes = "after\nwith a line"
run.tags += ("two", "three")
run.log({"a": 1})
print(run.name, run.notes, run.tags, run.group, run.job_type, run.project, run.id)
run.finish()
