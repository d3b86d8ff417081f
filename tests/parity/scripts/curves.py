# needs: numpy, pandas, sklearn
import numpy as np
import wandb

rng = np.random.default_rng(0)
truth = rng.integers(0, 3, 60)
scores = rng.random((60, 3))
run = wandb.init(project="charts", id="parity")
run.log(
    {
        "roc": wandb.plot.roc_curve(truth, scores, labels=["a", "b", "c"]),
        "pr": wandb.plot.pr_curve(truth, scores, labels=["a", "b", "c"], title="PR", split_table=True),
        "loss": 1,
    }
)
run.log({"some": wandb.plot.roc_curve(truth.tolist(), scores.tolist(), classes_to_plot=[0, 2])})
run.log(
    {
        "words": wandb.plot.pr_curve(
            ["n", "y", "n", "y"], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]], interp_size=5
        )
    }
)
truth[:] = 0
run.finish()
