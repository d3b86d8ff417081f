"""`make bench`: what logging costs, telemetryd beside other trackers, in one interleaved run.

Writes bench.md, bench.json and three plots to --out. `python -m tests.bench.docs` puts them into the documents.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.bench import plots, report
from tests.bench.measure import measure
from tests.bench.peers import PEERS
from tests.bench.plan import FULL, QUICK


def main() -> None:
    """See the module's head."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench-out"), help="folder for the results")
    parser.add_argument("--quick", action="store_true", help=f"about a minute, with {', '.join(QUICK.peers)}")
    parser.add_argument("--peers", default="", help=f"of {', '.join(PEERS)}; installs what is lacking")
    parser.add_argument("--only", default="", help="scenarios whose name has this in it")
    parser.add_argument("--pip-args", default="", help="passed to pip as it is where a tracker is installed")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    names = tuple(options.peers.split(",")) if options.peers else plan.peers
    results = measure(plan, names, options.pip_args, options.only)
    print(report.write(options.out, results))
    for path in plots.write(options.out, results):
        print(path)


if __name__ == "__main__":
    main()
