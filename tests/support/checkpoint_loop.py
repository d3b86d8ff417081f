"""Training that saves a checkpoint over the same path again and again, and logs at a steady rate in between.

    python tests/support/checkpoint_loop.py client|wandb SIZE_BYTES SAVES PERIOD_S

Prints one line of JSON: how long each call took, each `log`, each wait for staging, and what was saved (MD5 in base64)
beside what each version holds. `own` times leave out those in which the thread was ready to run and other processes had
the cores.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.trainer import ReadyTime

LOGS_PER_S = 500
PATH = "checkpoint.pt"


def md5(path: str) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with Path(path).open("rb") as stream:
        while piece := stream.read(1 << 22):
            digest.update(piece)
    return base64.b64encode(digest.digest()).decode()


def save(torch: Any, weights: Any, number: int) -> None:
    """As training does: the weights of this moment, over the same file."""
    weights.fill_(number)
    weights[:1024] = torch.rand(1024)
    torch.save({"model": weights, "epoch": number}, PATH)


def steady_logging(run: Any, seconds: float, took_ns: list[int], own_ns: list[int], ready: ReadyTime) -> None:
    """Log at LOGS_PER_S, as far as the machine allows."""
    begin = time.perf_counter()
    for index in range(int(seconds * LOGS_PER_S)):
        ahead_s = begin + index / LOGS_PER_S - time.perf_counter()
        if ahead_s > 0:
            time.sleep(ahead_s)
        waited, start = ready.ns(), time.perf_counter_ns()
        run.log({"loss": 1.0 / (index + 1), "step_ms": 2.0})
        took = time.perf_counter_ns() - start
        took_ns.append(took)
        own_ns.append(max(0, took - (ready.ns() - waited)))


def main() -> None:
    tracker, size, saves, period_s = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    wandb: Any = importlib.import_module(tracker)
    import torch

    weights = torch.zeros(size // 4)
    run = wandb.init(project="p", id=f"loop-{tracker}")
    run.log({"loss": 1.0})
    calls, own_calls, staged, log_ns, own_ns, saved, artifacts = [], [], [], [], [], [], []
    ready = ReadyTime(of_main_thread=True)
    for number in range(saves):
        save(torch, weights, number)
        saved.append(md5(PATH))
        waited, start = ready.ns(), time.perf_counter()
        artifact = wandb.Artifact(f"ckpt-{tracker}", type="model", metadata={"epoch": number})
        artifact.add_file(PATH)
        run.log_artifact(artifact, aliases=[f"epoch_{number}"])
        calls.append(time.perf_counter() - start)
        own_calls.append(calls[-1] - (ready.ns() - waited) / 1e9)
        artifacts.append(artifact)
        steady_logging(run, period_s, log_ns, own_ns, ready)
        if tracker == "client":  # then the next save may not tear it; wandb has copied it by now
            start = time.perf_counter()
            artifact.wait_staged()
            staged.append(time.perf_counter() - start)
    versions = []
    for artifact in artifacts:
        artifact.wait(600)
        versions.append([artifact.version, artifact.metadata["epoch"]])
    run.finish()
    os.remove(PATH)  # noqa: PTH107
    measured = {"calls_s": calls, "own_calls_s": own_calls, "staged_s": staged, "log_ns": log_ns, "own_ns": own_ns}
    print(json.dumps({**measured, "saved": saved, "versions": versions}))


if __name__ == "__main__":
    main()
