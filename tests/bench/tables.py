"""What tables cost the training thread, next to wandb: `python -m tests.bench.tables`. Peers take turns, by rounds.

A table of 1,000 rows and 5 columns (int, two floats, a str, a bool) is made from a list of rows, made row by row with
`add_data`, and logged; and a confusion matrix of 10,000 labels of 10 classes is made and logged.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tests.bench.units import duration
from tests.support.daemon import Daemon

ROWS, LABELS, CLASSES = 1000, 10_000, 10
COLUMNS = ["number", "loss", "accuracy", "text", "right"]
WORK = (
    "a table of 1,000 rows, 5 columns, from a list",
    "the same, row by row with `add_data`",
    "`log` of it",
    "`confusion_matrix` of 10,000 labels",
    "`log` of it",
)


def rows_of(round_: int) -> list[list[Any]]:
    """Other rows in each round."""
    return [[i, i / (round_ + 3), 1.0 - i / ROWS, f"row {i} of {round_}", i % 3 == 0] for i in range(ROWS)]


def peer(name: str, folder: str) -> None:
    """In a process of its own: a round for each line that comes, its times in ns as a line of JSON."""
    os.environ["WANDB_SILENT"] = "true"
    module: Any = __import__(name)
    settings = module.Settings(console="off") if name == "wandb" else None
    run = module.init(project="bench", dir=folder, mode="offline", settings=settings)
    labels = [i * 7 % CLASSES for i in range(LABELS)]
    names = [f"class {i}" for i in range(CLASSES)]
    print("ready", flush=True)
    for line in sys.stdin:
        if not line.strip().isdigit():
            break
        round_ = int(line)
        rows = rows_of(round_)
        guesses = [label if i % 9 else (label + 1) % CLASSES for i, label in enumerate(labels)]
        times = []

        def timed(call: Callable[[], Any], times: list[int] = times) -> Any:
            begin = time.perf_counter_ns()
            result = call()
            times.append(time.perf_counter_ns() - begin)
            return result

        def row_by_row(rows: list[list[Any]] = rows) -> Any:
            table = module.Table(columns=list(COLUMNS))
            for row in rows:
                table.add_data(*row)
            return table

        table = timed(lambda rows=rows: module.Table(columns=list(COLUMNS), data=rows))
        timed(row_by_row)
        timed(lambda table=table: run.log({"table": table}))
        chart = timed(
            lambda guesses=guesses: module.plot.confusion_matrix(y_true=labels, preds=guesses, class_names=names)
        )
        timed(lambda chart=chart: run.log({"confusion": chart}))
        print(msgspec.json.encode(times).decode(), flush=True)
    run.finish()


def main() -> None:
    """Run the peers by turns and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tables", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench-out"), help="folder for the result")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="three rounds: shows that it runs, not how fast it is")
    options = parser.parse_args()
    rounds = 3 if options.quick else options.rounds
    found: dict[str, list[list[int]]] = {"client": [], "wandb": []}
    with tempfile.TemporaryDirectory(prefix="td-bench-") as scratch, contextlib.ExitStack() as ending:
        folder = Path(scratch)
        daemon = Daemon(folder / "daemon", f"ipc://{folder}/d.sock", folder / "state", folder / "state" / "spool")
        os.environ.update(daemon.environment)
        ending.callback(daemon.end)
        daemon.start()
        peers = {}
        for name in found:
            (folder / name).mkdir()
            command = [
                sys.executable,
                "-c",
                f"from tests.bench import tables; tables.peer({name!r}, {str(folder / name)!r})",
            ]
            peers[name] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            ending.callback(peers[name].kill)
        for process in peers.values():
            assert process.stdout is not None
            while process.stdout.readline().strip() != "ready":
                assert process.poll() is None
        for round_ in range(rounds):
            for name, process in sorted(peers.items(), reverse=bool(round_ % 2)):
                assert process.stdin is not None
                assert process.stdout is not None
                print(round_, file=process.stdin, flush=True)
                found[name].append(msgspec.json.decode(process.stdout.readline()))
        for process in peers.values():
            process.communicate(timeout=300)
        daemon.stop()
    options.out.mkdir(exist_ok=True)
    (options.out / "tables.md").write_text(shown(found) + "\n")
    print(shown(found))


def shown(found: dict[str, list[list[int]]]) -> str:
    """Medians and worst of all rounds but the first."""
    lines = ["| | telemetryd, median | worst | wandb, median | worst |", "|---|---:|---:|---:|---:|"]
    for number, work in enumerate(WORK):
        cells = []
        for name in ("client", "wandb"):
            times = sorted(times[number] / 1000 for times in found[name][1:])
            cells += [duration(times[len(times) // 2]), duration(times[-1])]
        lines.append(f"| {work} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
