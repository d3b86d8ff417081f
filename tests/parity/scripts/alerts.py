import datetime

import wandb

with wandb.init(project="p", id="parity") as run:
    run.log({"loss": 1.0})
    run.alert("loss is high", "it is 1.0", "WARN", 90)
    wandb.alert("another", "text ☃", level=wandb.AlertLevel.ERROR, wait_duration=datetime.timedelta(seconds=5))
    wandb.alert(title="plain", text="")
    for wrong in ({"level": "FATAL"}, {"wait_duration": "long"}):
        try:
            run.alert("title", "text", **wrong)
        except (ValueError, TypeError) as error:
            print(type(error).__name__, error)
    run.mark_preempting()
    run.pin_config_keys(["lr"])
    run.log({"loss": 0.5})
