# needs: numpy, pandas
import numpy as np
import pandas as pd
import wandb

frame = pd.DataFrame({"n": [1, 2, 3], "x": [0.5, np.nan, 1.5], "s": ["a", "b", None], "b": [True, False, True]})
frame["when"] = pd.date_range("2020-01-01", periods=3)
run = wandb.init(project="tables", id="parity")
run.log({"by name": wandb.Table(dataframe=frame), "as data": wandb.Table(data=frame)})
run.log({"bare": frame, "loss": 1})
frame["n"] = 0
print(wandb.Table(dataframe=frame).get_dataframe())
run.finish()
