import wandb

settings = wandb.Settings(
    git_commit="c0ffee",
    git_remote_url="https://host/other.git",
    host="node7",
    username="me",
    email="me@example.org",
    x_save_requirements=False,
)
run = wandb.init(project="p", id="parity", settings=settings)
run.log({"a": 1})
run.finish()
