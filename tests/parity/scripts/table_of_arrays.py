# needs: numpy
import numpy as np
import wandb

run = wandb.init(project="tables", id="parity")
table = wandb.Table(columns=["a", "b"], data=np.array([[1, 2], [3, 4]]))
table.add_column("c", np.array([0.5, np.nan]))
table.add_data(np.int64(5), 6, np.float32(0.1))
print(table.data)
run.log({"table": table})
run.finish()
