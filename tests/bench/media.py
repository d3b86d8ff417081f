"""What everything that is more than a number costs the training thread, telemetryd against wandb, in one table.

    python -m tests.bench.media            measures, prints the table and writes it to bench-out/media.md
    python -m tests.bench.media --write    the same, and puts it into docs/media.md

Each peer lives in a process of its own and the two take turns, value by value, so that whatever slows the machine slows
both. What is timed is the constructor and the `log` call together, because each does a part of the work. Between calls
the thread sleeps: media are logged now and then, and the daemon, like wandb-core, has the time that it has in life. A
bare copy of an image's bytes takes its turns, too: no capture can cost less. Ten images one after another show the same
call where the caches are its own. The last row is measured by watch.py.
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

from tests.bench import report, tables, watch
from tests.bench.units import duration
from tests.support.daemon import Daemon

PAUSE_S = 0.05
ANSWER_DEADLINE_S = 300.0
WARM_UP_CALLS = 3
BUDGET_S = 40.0
"""A value that took so long in all is not logged again: wandb encodes a film for seconds."""

PEERS = ("client", "wandb")
DOCUMENT = Path(__file__).parents[2] / "docs" / "media.md"
BEGIN, END = "<!-- bench: from bench-out/media.md -->\n", "<!-- end of bench -->"
IN_A_ROW, IN_A_ROW_CALLS = "the same, ten calls one after another: each", 10
WATCHED = '`watch(log="all")` of a ResNet-18, in a step that it looks at'

Call = Callable[[], Any]


def cases() -> dict[str, Callable[[Any, Any], Call]]:
    """Name → ((module, run) → what is timed). Buffers are made before the clock runs."""
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
    elsewhere = np.zeros_like(image)
    rows = tables.rows_of(0)

    def logged(make: Callable[[Any], Any]) -> Callable[[Any, Any], Call]:
        return lambda m, run: lambda: run.log({"v": make(m)})

    return {
        "the bytes of a 512x512x3 image copied, and no more": lambda m, run: lambda: np.copyto(elsewhere, image),
        "a 512x512x3 image": logged(lambda m: m.Image(image)),
        IN_A_ROW: lambda m, run: lambda: [run.log({"v": m.Image(image)}) for _ in range(IN_A_ROW_CALLS)],
        "16 such images": logged(lambda m: [m.Image(image) for _ in range(16)]),
        "10 s of audio, 44.1 kHz": logged(lambda m: m.Audio(clip, sample_rate=44_100)),
        "a table of 1,000 rows, 5 columns": logged(lambda m: m.Table(columns=list(tables.COLUMNS), data=rows)),
        "a histogram of a million values": logged(lambda m: m.Histogram(numbers)),
        "a matplotlib figure, as an image": logged(lambda m: m.Image(figure)),
        "a video of 30 frames, 128x128": logged(lambda m: m.Video(frames, format="gif", fps=10)),
    }


def _serve(peer: str, folder: str, connection: Connection) -> None:
    os.environ["WANDB_SILENT"] = "true"
    module: Any
    if peer == "client":
        import client as module
    else:
        import wandb as module
    run = module.init(project="bench", dir=folder, mode="offline")
    made = {name: case(module, run) for name, case in cases().items()}
    connection.send("ready")
    while (name := connection.recv()) is not None:
        call = made[name]
        begun_ns = time.perf_counter_ns()
        call()
        taken_ns = time.perf_counter_ns() - begun_ns
        connection.send(taken_ns // IN_A_ROW_CALLS if name == IN_A_ROW else taken_ns)
    told = run.finish() if peer == "wandb" else run.finish(quiet=True, timeout_s=ANSWER_DEADLINE_S)
    connection.send(str(told))


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


def measure(calls: int, warm_up: int, only: str = "") -> dict[str, dict[str, list[int]]]:
    """Name → peer → nanoseconds of each call, the warm-up's first."""
    found: dict[str, dict[str, list[int]]] = {}
    with tempfile.TemporaryDirectory(prefix="td-bench-") as scratch, contextlib.ExitStack() as ending:
        folder = Path(scratch)
        daemon = Daemon(folder / "daemon", f"ipc://{folder}/d.sock", folder / "state", folder / "state" / "spool")
        os.environ.update(daemon.environment)
        ending.callback(daemon.end)
        daemon.start()
        peers = {name: Peer(name, folder / name) for name in PEERS}
        for peer in peers.values():
            ending.callback(peer.process.kill)
        for name in (name for name in cases() if only in name):
            found[name] = {peer: [] for peer in peers}
            for number in range(calls + warm_up):
                if number > warm_up and sum(map(sum, found[name].values())) > BUDGET_S * 1e9:
                    break
                for peer in peers:
                    found[name][peer].append(peers[peer].ask(name))
                    time.sleep(PAUSE_S)
        for peer in peers.values():
            peer.ask(None)
            peer.process.join(ANSWER_DEADLINE_S)
    return found


def table(found: dict[str, dict[str, list[int]]], warm_up: int, watched: dict[str, list[tuple[float, float]]]) -> str:
    """As Markdown; `watched` as watch.measure gives it, empty: without its row."""
    lines = ["| | telemetryd, median | p90 | first | wandb, median | p90 | first |", f"|---|{'---:|' * 6}"]
    for name, taken in found.items():
        cells = [cell for peer in PEERS for cell in _cells([ns / 1e3 for ns in taken[peer]], warm_up)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if watched:
        usual_us = statistics.median(cpu_s for _, cpu_s in watched["unwatched"]) * 1e6
        more = {peer: sorted(cpu_s * 1e6 - usual_us for _, cpu_s in watched[peer]) for peer in PEERS}
        cells = [cell for peer in PEERS for cell in (*_cells([0.0, *more[peer]], 1)[:2], "")]
        lines.append(f"| {WATCHED} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cells(taken_us: list[float], warm_up: int) -> list[str]:
    steady = sorted(taken_us[warm_up:])
    p90 = steady[min(len(steady) - 1, int(0.9 * len(steady)))]
    return [duration(value) for value in (statistics.median(steady), p90, taken_us[0])]


def _where(calls: int, steps: int) -> str:
    where = report.machine()
    return (
        f"\n{where['cores']} cores of {where['cpu']} with a load of {where['load_before']:.0f} by others; up to"
        f" {calls} calls of each, {steps} steps; Python {where['python']}, wandb {where['wandb']}.\n"
    )


def main() -> None:
    """See the module's head."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.media", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench-out"), help="folder for the result")
    parser.add_argument("--calls", type=int, default=30, help="of each value and peer")
    parser.add_argument("--steps", type=int, default=10, help="of the watched model; 0: without it")
    parser.add_argument("--only", default="", help="values whose name has this in it")
    parser.add_argument("--quick", action="store_true", help="one call: shows that it runs, not how fast it is")
    parser.add_argument("--write", action="store_true", help="put the table into docs/media.md")
    options = parser.parse_args()
    calls, warm_up, steps = (1, 1, 1) if options.quick else (options.calls, WARM_UP_CALLS, options.steps)
    ending = _where(calls, steps)
    found = measure(calls, warm_up, options.only)
    watched = watch.measure(steps, warm_up=min(warm_up, 2))[1] if steps and not options.only else {}
    text = table(found, warm_up, watched) + ending
    options.out.mkdir(exist_ok=True)
    (options.out / "media.md").write_text(text)
    print(text)
    if options.write:
        before, _, rest = DOCUMENT.read_text().partition(BEGIN)
        DOCUMENT.write_text(before + BEGIN + text + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
