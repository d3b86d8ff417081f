# needs: torch, numpy, PIL, soundfile, moviepy
"""What W&B's guide "Add wandb to any library" tells a library to do, in a training of a real torch model.

The library below trains without wandb first, then with it. Sections are the guide's.
"""

import argparse
import logging
import os
import pathlib
import sys

import numpy as np
import torch
from torch import nn

try:  # wandb as an optional requirement
    import wandb
except ImportError:
    wandb = None

ENTITY = os.environ["WANDB_ENTITY"]
CLASSES = ["low", "middle", "high"]
log = logging.getLogger("library")
# Beside print's, not on stderr: what comes on two streams in the same moment has no order under the launcher.
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)


class Trainer:
    """The library: `use_wandb` is all that its users need to know of wandb."""

    def __init__(self, *, use_wandb=False, **config):
        if use_wandb and wandb is None:
            raise ImportError("`use_wandb` needs wandb: pip install wandb")
        torch.manual_seed(0)
        torch.set_num_threads(1)
        self.config = config
        self.model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        self.inputs = torch.linspace(-1, 1, 4 * 60).reshape(60, 4).sin()
        self.labels = (self.inputs.sum(1) > 0).long() + (self.inputs[:, 0] > 0.5).long()
        self.step = 0
        self.run = None
        if use_wandb:
            self.start()

    def start(self):
        # Log in, and start a run with project and entity
        logged_in = wandb.login()
        self.run = wandb.init(
            project="my-library", entity=ENTITY, id="parity", job_type="train", tags=["library"], config=self.config
        )
        self.run.summary["logged_in"] = logged_in
        # Config, and its updates
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        self.run.config.update({"model_parameters": parameters})
        self.run.config["model"] = {"layers": [4, 8, 3], "activation": "relu"}
        # Prefixes and the x axis
        self.run.define_metric("global_step")
        self.run.define_metric("train/*", step_metric="global_step")
        self.run.define_metric("eval/*", step_metric="global_step")
        self.run.define_metric("eval/accuracy", summary="max")
        self.run.watch(self.model, log="all", log_freq=3)

    def log(self, row):
        if self.run is not None:
            self.run.log({**row, "global_step": self.step})

    def train(self, epochs):
        for epoch in range(epochs):
            for batch in range(0, 60, 20):
                rows = slice(batch, batch + 20)
                loss = nn.functional.cross_entropy(self.model(self.inputs[rows]), self.labels[rows])
                self.model.zero_grad()
                loss.backward()
                with torch.no_grad():  # by hand: torch.optim imports torch._dynamo, a second of CPU in each run
                    for parameter in self.model.parameters():
                        parameter -= self.config["lr"] * parameter.grad
                self.step += 1
                self.log({"train/loss": round(loss.item(), 4), "train/epoch": epoch})
            with torch.no_grad():
                scores = self.model(self.inputs).softmax(1)
            self.evaluate(epoch, scores, scores.argmax(1))
            self.save(epoch)
        if self.run is not None:
            self.dataset()
            self.run.alert("trained", f"after {self.step} steps", level=wandb.AlertLevel.INFO)

    def evaluate(self, epoch, scores, predicted):
        accuracy = (predicted == self.labels).float().mean().item()
        self.log({"eval/accuracy": round(accuracy, 4)})
        if self.run is None:
            return
        print(f"epoch {epoch}: accuracy {accuracy:.3f}")
        # Images, tables, text, audio, video, 3D, histograms and plots
        table = wandb.Table(columns=["id", "label", "predicted", "picture", "text"])
        for i in range(5):
            picture = wandb.Image(self.inputs[i].reshape(1, 2, 2).abs(), caption=CLASSES[predicted[i]])
            table.add_data(i, int(self.labels[i]), int(predicted[i]), picture, f"sample {i} of epoch {epoch}")
        wave = np.sin(np.arange(800) / (10 + epoch)).astype(np.float32)
        frames = (scores.numpy()[:36].reshape(3, 1, 4, 9) * 255).astype(np.uint8).repeat(3, axis=1)
        self.log(
            {
                "eval/predictions": table,
                "eval/inputs": wandb.Image((self.inputs.numpy() * 127 + 128).astype(np.uint8), caption="inputs"),
                "eval/batch": [wandb.Image(one.reshape(1, 2, 2).abs()) for one in self.inputs[:4]],
                "eval/report": wandb.Html(f"<b>epoch {epoch}</b>"),
                "eval/sound": wandb.Audio(wave, sample_rate=8000, caption="tone"),
                "eval/film": wandb.Video(frames, fps=2, format="gif"),
                "eval/points": wandb.Object3D(self.inputs[:, :3].numpy().astype(np.float64)),
                "eval/labels": wandb.Histogram(self.labels.float(), num_bins=3),
                "eval/scores": scores,
                "eval/confusion": wandb.plot.confusion_matrix(
                    y_true=self.labels.tolist(), preds=predicted.tolist(), class_names=CLASSES
                ),
                "eval/by_label": wandb.plot.scatter(table, "label", "predicted", title="by label"),
            }
        )

    def save(self, epoch):
        # Model artifacts: model-{run.id}, with metadata and aliases
        folder = pathlib.Path("output_model")
        folder.mkdir(exist_ok=True)
        for name, tensor in self.model.state_dict().items():  # torch.save's zip is not the same bytes each time
            (folder / f"{name}.npy").write_bytes(tensor.numpy().tobytes())
        if self.run is None:
            return
        artifact = wandb.Artifact(
            name=f"model-{self.run.id}",
            type="model",
            description="the model after an epoch",
            metadata={"train/steps": self.step, "epoch": epoch},
        )
        artifact.add_dir("output_model")
        logged = self.run.log_artifact(artifact, aliases=["best", f"epoch_{epoch + 10}"])
        if not self.run.offline:
            print("model", logged.wait().version, sorted(logged.aliases))

    def dataset(self):
        # Data set artifacts: add_file and use_artifact
        pathlib.Path("flowers.npy").write_bytes(self.inputs.numpy().tobytes())
        artifact = wandb.Artifact(name="flowers", type="dataset")
        artifact.add_file("flowers.npy")
        try:
            used = self.run.use_artifact(artifact)
            print("data set", used.name, used.type, sorted(used.manifest.entries))
        except TypeError as error:
            print(error)


parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.5)
arguments = parser.parse_args()
Trainer(lr=arguments.lr, epochs=2).train(2)
trainer = Trainer(use_wandb=True, lr=arguments.lr, epochs=2)
try:
    trainer.train(2)
    trainer.model(torch.zeros(1, 5))
except RuntimeError:
    log.exception("the last batch has another shape")  # console output with its error message
trainer.run.summary["done"] = True
trainer.run.finish()
