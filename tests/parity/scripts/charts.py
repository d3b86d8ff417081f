# needs: numpy
import numpy as np
import wandb

run = wandb.init(project="charts", id="parity")
table = wandb.Table(columns=["step", "loss", "name"], data=[[i, 1 / (i + 1), "ab"[i % 2]] for i in range(10)])
run.log(
    {
        "line": wandb.plot.line(table, "step", "loss", stroke="name", title="Loss"),
        "scatter": wandb.plot.scatter(table, x="step", y="loss"),
        "value": 1,
        "bar": wandb.plot.bar(table, "name", "loss", title="Bars", split_table=True),
        "histogram": wandb.plot.histogram(table, value="loss"),
    }
)
series = wandb.plot.line_series([0, 1, 2], [[1, 2, 3], [4.5, 5, 6]], keys=["u", "v"], title="Two", xname="x")
run.log({"series": series, "other": wandb.plot.line_series([[0], [1, 2]], [[1], [2, 3]])})
truth, guesses = [0, 1, 2, 2, 1], [0, 2, 2, 2, 1]
run.log({"confusion": wandb.plot.confusion_matrix(y_true=truth, preds=guesses, class_names=["a", "b", "c"])})
probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
matrix = wandb.plot.confusion_matrix(
    probs=probabilities, y_true=np.array([0, 1, 1]), title="By chance", split_table=True
)
probabilities[:] = 0
run.log({"deep": {"matrix": matrix, "n": 1}})
run.log({"custom": wandb.plot_table("me/chart", table, {"x": "step"}, {"title": "Mine"})})
run.log({"panel": wandb.visualize("me/panel", table), "loss": 0.5})
run.log({"line": wandb.plot.line(wandb.Table(columns=["a"], data=[[1]]), "a", "a")}, step=50)
shared = wandb.Table(columns=["n", "third"], data=[[n, n / 3] for n in range(600)])
both = {"shared line": wandb.plot.line(shared, "n", "third"), "shared bar": wandb.plot.bar(shared, "n", "third")}
run.log({"shared": shared, **both}, step=51)
run.finish()
