import os

os.environ |= {"WANDB_DISABLE_CODE": "true", "WANDB_SAVE_CODE": "true"}
import wandb

wandb.init(project="p", id="parity").log({"a": 1})
wandb.finish()
