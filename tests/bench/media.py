"""What one media value costs the training thread, telemetryd against wandb: `python -m tests.bench.media [--quick]`.

Each peer lives in a process of its own and the two take turns, value by value, so that whatever slows the machine slows
both. What is timed is the constructor and the `log` call together, because each does a part of the work. Between calls
the thread sleeps: media are logged now and then, and the daemon, like wandb-core, has the time that it has in life.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.bench.units import duration
from tests.support.daemon import Daemon

PAUSE_S = 0.05
ANSWER_DEADLINE_S = 300.0
WARM_UP_CALLS = 3


def cases() -> dict[str, Callable[[Any], Callable[[], dict[str, Any]]]]:
    """Name → (module → what makes a row's values). Buffers are made before the clock runs."""
    import matplotlib
    import numpy as np

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (512, 512, 3), dtype=np.uint8)
    clip = rng.normal(size=(10 * 44_100,)).astype("float32")
    numbers = rng.normal(size=1_000_000)
    frames = rng.integers(0, 256, (30, 3, 128, 128), dtype=np.uint8)
    figure, axes = plt.subplots()
    axes.plot(numbers[:200])
    return {
        "a 512x512x3 image": lambda m: lambda: {"v": m.Image(image)},
        "16 such images": lambda m: lambda: {"v": [m.Image(image) for _ in range(16)]},
        "10 s of audio, 44.1 kHz": lambda m: lambda: {"v": m.Audio(clip, sample_rate=44_100)},
        "a histogram of a million values": lambda m: lambda: {"v": m.Histogram(numbers)},
        "a matplotlib figure, as an image": lambda m: lambda: {"v": m.Image(figure)},
        "a video of 30 frames, 128x128": lambda m: lambda: {"v": m.Video(frames, format="gif", fps=10)},
    }


def _serve(peer: str, folder: str, connection: Connection) -> None:
    os.environ["WANDB_SILENT"] = "true"
    module: Any
    if peer == "client":
        import client as module
    else:
        import wandb as module
    run = module.init(project="bench", dir=folder, mode="offline")
    made = {name: case(module) for name, case in cases().items()}
    connection.send("ready")
    while (name := connection.recv()) is not None:
        make = made[name]
        begun_ns = time.perf_counter_ns()
        run.log(make())
        connection.send(time.perf_counter_ns() - begun_ns)
    report = run.finish() if peer == "wandb" else run.finish(quiet=True, timeout_s=ANSWER_DEADLINE_S)
    connection.send(str(report))


class Peer:
    """One process that logs what it is told to."""

    def __init__(self, name: str, folder: Path) -> None:
        folder.mkdir()
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(name, str(folder), theirs))
        self.process.start()
        self.ask()

    def ask(self, what: str | None = "") -> Any:
        if what != "":
            self.connection.send(what)
        assert self.connection.poll(ANSWER_DEADLINE_S), "the peer does not answer"
        return self.connection.recv()


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.media", description=__doc__)
    parser.add_argument("--calls", type=int, default=30, help="of each value and peer")
    parser.add_argument("--only", default="", help="values whose name has this in it")
    parser.add_argument("--quick", action="store_true", help="three calls: shows that it runs, not how fast it is")
    options = parser.parse_args()
    calls = 3 if options.quick else options.calls
    with tempfile.TemporaryDirectory(prefix="td-bench-") as scratch, contextlib.ExitStack() as ending:
        folder = Path(scratch)
        daemon = Daemon(folder / "daemon", f"ipc://{folder}/d.sock", folder / "state", folder / "state" / "spool")
        os.environ.update(daemon.environment)
        ending.callback(daemon.end)
        daemon.start()
        peers = {name: Peer(name, folder / name) for name in ("client", "wandb")}
        for peer in peers.values():
            ending.callback(peer.process.kill)
        print("| value | telemetryd, median | p90 | first | wandb, median | p90 | first |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for name in (name for name in cases() if options.only in name):
            taken: dict[str, list[float]] = {peer: [] for peer in peers}
            for _ in range(calls + WARM_UP_CALLS):
                for peer in peers:
                    taken[peer].append(peers[peer].ask(name))
                    time.sleep(PAUSE_S)
            cells = [cell for peer in peers for cell in _cells(taken[peer])]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
        for name, peer in peers.items():
            peer.connection.send(None)
            print(f"\n{name}: {peer.ask().splitlines()[0]}")
            peer.process.join(ANSWER_DEADLINE_S)


def _cells(taken_ns: list[float]) -> list[str]:
    steady = sorted(taken_ns[WARM_UP_CALLS:])
    p90 = steady[min(len(steady) - 1, int(0.9 * len(steady)))]
    return [duration(value / 1000) for value in (statistics.median(steady), p90, taken_ns[0])]


if __name__ == "__main__":
    main()
