"""What `watch` costs a training step of a ResNet-18-sized model: gradients and parameters, at each step.

    python -m tests.bench.watch              steps of three processes, one after another: unwatched, telemetryd, wandb
    python -m tests.bench.watch peer NAME    one of them: a line "go" runs a step and prints its seconds

A step is forward, backward and an optimizer's step on a small batch, in one thread; what a peer's step takes longer
than the unwatched one is what `watch` costs the training thread. Its CPU time tells that apart from what other
processes, and the thread of histograms, took of the cores. Both watch at log_freq=1, so every step pays; at the default
of 1000 a thousandth of it remains.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.daemon import Daemon

PEERS = ("unwatched", "client", "wandb")
SHOWN = {"unwatched": "unwatched", "client": "telemetryd `watch`", "wandb": "`wandb.watch` (offline)"}
BATCH, SIDE = 2, 32


def resnet18() -> Any:
    """torchvision's ResNet-18 in torch alone: 11.7 million parameters in 62 tensors."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inside: int, outside: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outside)
            self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outside)
            self.downsample = (
                nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
                if stride != 1
                else nn.Identity()
            )

        def forward(self, x: Any) -> Any:
            inner = torch.relu(self.bn1(self.conv1(x)))
            return torch.relu(self.bn2(self.conv2(inner)) + self.downsample(x))

    widths, layers, inside = (64, 128, 256, 512), [], 64
    for number, width in enumerate(widths):
        layers.append(nn.Sequential(Block(inside, width, 1 if number == 0 else 2), Block(width, width, 1)))
        inside = width
    stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(stem, *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


def peer(name: str) -> None:
    """The child: a step for each line on stdin."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)  # so that the training thread's CPU time is all of the step's
    model = resnet18()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images, labels = torch.randn(BATCH, 3, SIDE, SIDE), torch.randint(0, 1000, (BATCH,))
    run: Any = None
    if name == "client":
        import client

        run = client.init(project="bench", mode="offline")
    elif name == "wandb":
        import wandb

        run = wandb.init(project="bench", mode="offline", settings=wandb.Settings(console="off", silent=True))
    if run is not None:
        run.watch(model, log="all", log_freq=1)
    print(sum(parameter.numel() for parameter in model.parameters()), len(list(model.parameters())), flush=True)
    for _ in sys.stdin:
        began, began_cpu = time.perf_counter(), time.thread_time()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if run is not None:
            run.log({"loss": 1.0})
        print(time.perf_counter() - began, time.thread_time() - began_cpu, flush=True)
    if run is not None:
        run.finish()


class Peer:
    """A child of this benchmark."""

    def __init__(self, name: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.name = name
        self.steps_s: list[tuple[float, float]] = []
        environment = os.environ | {"WANDB_DIR": str(folder), "WANDB_SILENT": "true"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.watch", "peer", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=environment,
        )  # fmt: skip
        self.size = self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"{self.name} ended early"
        return line.strip()

    def step(self) -> None:
        """One step, noted."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        elapsed_s, cpu_s = map(float, self._line().split())
        self.steps_s.append((elapsed_s, cpu_s))

    def end(self) -> None:
        """Close its stdin and wait for its `finish`."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(300)


def measure(steps: int, warm_up: int) -> tuple[str, dict[str, list[tuple[float, float]]]]:
    """(parameters and tensors, (seconds, CPU seconds of its thread) of each step by peer), interleaved step by step."""
    with tempfile.TemporaryDirectory(prefix="td-watch-") as scratch:
        folder = Path(scratch)
        daemon = Daemon(folder / "daemon", f"ipc://{folder}/d.sock", folder / "state", folder / "state" / "spool")
        os.environ.update(daemon.environment)
        daemon.start()
        peers = [Peer(name, folder / name) for name in PEERS]
        try:
            for number in range(warm_up + steps):
                for one in peers:
                    one.step()
                    if number < warm_up:
                        one.steps_s.clear()
        finally:
            for one in peers:
                one.end()
            daemon.stop()
        return peers[0].size, {one.name: one.steps_s for one in peers}


def table(size: str, found: dict[str, list[tuple[float, float]]]) -> str:
    """As Markdown."""
    parameters, tensors = size.split()
    base_s = statistics.median(cpu_s for _, cpu_s in found["unwatched"])
    lines = [
        f'**`watch(log="all", log_freq=1)`, {int(parameters):,} parameters in {tensors} tensors**',
        "",
        "| a training step | median | CPU of the training thread, median | more than unwatched | steps |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in PEERS:
        elapsed_s, cpu_s = (statistics.median(values) for values in zip(*found[name], strict=True))
        more = "" if name == "unwatched" else f"{(cpu_s - base_s) * 1e3:.0f} ms"
        shown = f"| {SHOWN[name]} | {elapsed_s * 1e3:.0f} ms | {cpu_s * 1e3:.0f} ms | {more} | {len(found[name])} |"
        lines.append(shown)
    return "\n".join(lines)


def main() -> None:
    """See the module's head."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.watch", description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("peer", nargs="*", help="peer NAME: one of the processes")
    options = parser.parse_args()
    if options.peer:
        peer(options.peer[1])
        return
    print(table(*measure(options.steps, options.warm_up)))


if __name__ == "__main__":
    main()
