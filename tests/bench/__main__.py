"""`make bench`: what one call costs the training loop, telemetryd against wandb, in one interleaved run."""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from pathlib import Path

from tests.bench import faults, report
from tests.bench.measure import Runner, interleaved
from tests.bench.peers import PEERS
from tests.support.daemon import Daemon

BACK_TO_BACK = "back_to_back"
AT_1_KHZ = "at_1_khz"
SCENARIOS = {BACK_TO_BACK: "10 floats, back to back", AT_1_KHZ: "10 floats, one call a millisecond"}


def main() -> None:
    """Runs the benchmark and prints its tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench-out"), help="folder for the Markdown and JSON results")
    parser.add_argument("--rounds", type=int, default=20, help="blocks of each peer and scenario")
    parser.add_argument("--calls", type=int, default=1000, help="calls of a block")
    parser.add_argument("--peers", default=",".join(PEERS), help=f"of {', '.join(PEERS)}")
    parser.add_argument("--quick", action="store_true", help="two short rounds: shows that it runs, not how fast it is")
    options = parser.parse_args()
    rounds, calls = (2, 100) if options.quick else (options.rounds, options.calls)
    where = report.machine()
    with tempfile.TemporaryDirectory(prefix="td-bench-") as scratch, contextlib.ExitStack() as ending:
        folder = Path(scratch)
        daemon = Daemon(folder / "daemon", f"ipc://{folder}/d.sock", folder / "state", folder / "state" / "spool")
        os.environ.update(daemon.environment)
        names = options.peers.split(",")
        if "client" in names:
            ending.callback(daemon.end)
            daemon.start()
        runners: list[Runner] = []
        for name in names:
            runners.append(Runner(name, folder / name))
            ending.callback(runners[-1].kill)
        interleaved(runners, BACK_TO_BACK, rounds, calls, period_ns=0)
        interleaved(runners, AT_1_KHZ, rounds, calls, period_ns=1_000_000)
        for runner in runners:
            runner.finish()
        found = faults.measure(names, folder, daemon)
        if "client" in names:
            daemon.stop()
        print(report.write(options.out, runners, SCENARIOS, found, where))


if __name__ == "__main__":
    main()
