import os

os.environ |= {
    "WANDB_PROJECT": "from-env",
    "WANDB_RUN_ID": "envid",
    "WANDB_NAME": "env name",
    "WANDB_NOTES": "env notes",
    "WANDB_TAGS": "x,y",
    "WANDB_RUN_GROUP": "env-group",
    "WANDB_JOB_TYPE": "eval",
}
import wandb

wandb.init()
wandb.log({"a": 1})
print(wandb.run.id, wandb.run.name, wandb.run.tags)
wandb.finish()
