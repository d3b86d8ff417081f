"""Train a small network on scikit-learn's handwritten digits and track it: `telemetryd run -- python train_digits.py`.

Written as for wandb; only the import differs. About ten seconds on two cores. At its end it logs what the network sees:
predictions as images, a confusion matrix, how sure it is, and a table of its mistakes.

On several processes it trains them as one, with a quarter of the digits each where there are four:
`telemetryd run -- torchrun --nproc_per_node=4 train_digits.py`.
"""

import argparse
import os

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import client as wandb

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=20)
arguments = parser.parse_args()

if "RANK" in os.environ:  # torchrun numbers its processes
    dist.init_process_group("gloo")
rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)

run = wandb.init(
    project="digits",
    tags=["demo"],
    config={
        "epochs": arguments.epochs,
        "batch_size": 32,
        "learning_rate": 2e-3,
        "hidden": 128,
        "dropout": 0.2,
        "seed": 7,
    },
)
config = run.config

run.define_metric("global_step")
run.define_metric("train/*", step_metric="global_step")
run.define_metric("val/*", step_metric="global_step")
run.define_metric("val/accuracy", step_metric="global_step", summary="max")

torch.manual_seed(config.seed)
torch.set_num_threads(1)  # the network is too small for more to help

images, labels = load_digits(return_X_y=True)
images_train, images_val, labels_train, labels_val = train_test_split(
    torch.tensor(images, dtype=torch.float32) / 16,
    torch.tensor(labels),
    test_size=0.2,
    stratify=labels,
    random_state=config.seed,
)

model = nn.Sequential(
    nn.Linear(64, config.hidden),
    nn.ReLU(),
    nn.Dropout(config.dropout),
    nn.Linear(config.hidden, config.hidden),
    nn.ReLU(),
    nn.Linear(config.hidden, 10),
)
if ranks > 1:
    model = nn.parallel.DistributedDataParallel(model)  # the same weights everywhere: gradients are averaged
optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs)
loss_of = nn.CrossEntropyLoss()

global_step = 0
best_accuracy = 0.0
for epoch in range(config.epochs):
    model.train()
    order = torch.randperm(len(images_train), generator=torch.Generator().manual_seed(config.seed + epoch))
    mine = order[rank : len(order) - len(order) % ranks : ranks]  # of the same order everywhere
    for batch in mine.split(config.batch_size):
        logits = model(images_train[batch])
        loss = loss_of(logits, labels_train[batch])
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        global_step += 1
        run.log(
            {
                "global_step": global_step,
                "train/loss": loss,  # a tensor, as it is: its value is taken now
                "train/accuracy": (logits.argmax(1) == labels_train[batch]).float().mean(),
                "train/grad_norm": norm,
                "train/learning_rate": schedule.get_last_lr()[0],
            }
        )
    schedule.step()

    model.eval()
    with torch.no_grad():
        logits = model(images_val)
        val_loss = loss_of(logits, labels_val).item()
        accuracy = (logits.argmax(1) == labels_val).float().mean().item()
    best_accuracy = max(best_accuracy, accuracy)
    run.log({"global_step": global_step, "epoch": epoch, "val/loss": val_loss, "val/accuracy": accuracy})
    if rank == 0:
        words = f"epoch {epoch + 1:2d}/{config.epochs}  val/loss {val_loss:.4f}  val/accuracy {accuracy:.4f}"
        print(words, flush=True)

confidence, guesses = logits.softmax(1).max(1)
pictures = images_val.reshape(-1, 1, 8, 8)
predictions = [
    wandb.Image(picture, caption=f"{guess} ({label})")
    for picture, guess, label in zip(pictures[:16], guesses, labels_val, strict=False)
]
mistakes = wandb.Table(columns=["image", "digit", "guess", "confidence"])
for index in (guesses != labels_val).nonzero().flatten().tolist():
    mistakes.add_data(
        wandb.Image(pictures[index]), labels_val[index].item(), guesses[index].item(), confidence[index].item()
    )
digits = [str(digit) for digit in range(10)]
matrix = wandb.plot.confusion_matrix(y_true=labels_val.tolist(), preds=guesses.tolist(), class_names=digits)
run.log(
    {
        "predictions": predictions,
        "confusion": matrix,
        "confidence": confidence,  # a tensor of this size becomes a histogram
        "mistakes": mistakes,
    }
)

run.summary["best_accuracy"] = best_accuracy
run.summary["parameters"] = sum(parameter.numel() for parameter in model.parameters())
run.finish()
if dist.is_initialized():
    dist.destroy_process_group()
