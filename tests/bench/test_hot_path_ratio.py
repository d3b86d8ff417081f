"""What a logging call costs, as a multiple of encoding the same row in the same run: a ratio that no machine changes.

Small blocks of the two take turns within one process, and of each the blocks of the quickest quarter are compared: what
else happens on a machine makes blocks longer and never shorter. Both are called the same way, a bound method with the
row, and timed by the block, so that the clock is in neither.
"""

from __future__ import annotations

import json
from pathlib import Path

from client import fastlog
from tests.support.daemon import Daemon
from tests.support.processes import python, running
from tests.support.requirements import require

HOT_PATH_RATIO_MAX = 3.0
"""`log` back to back over encode alone: beside the encoding are a look-up, the row's tail, a checksum and the copy."""

BLOCKS, CALLS = 300, 20

TRAINING = """
import json, sys, time
import client
from tests.bench.blocks import untimed, rows
from tests.bench.peers.baseline import Encoding

blocks, calls = int(sys.argv[1]), int(sys.argv[2])
run = client.init(project="hot-path", mode="offline")
data = rows(calls, 1)
log, encode = run.log, Encoding().log
for _ in range(20):
    untimed(log, data)
    untimed(encode, data)
taken = {"log": [], "encode": []}
for number in range(blocks):
    for name, call in (("log", log), ("encode", encode))[:: 1 if number % 2 else -1]:
        taken[name].append(untimed(call, data) / calls)
report = run.finish(timeout_s=60)
quick = {name: sorted(of_each)[blocks // 4] for name, of_each in taken.items()}
print(json.dumps(quick | {"offered": report.offered, "dropped": sum(report.dropped.values())}))
"""


def test_a_logging_call_costs_no_more_than_a_few_encodings_of_its_row(daemon: Daemon, tmp_path: Path) -> None:
    require(fastlog.COMPILED, "the compiled log: a C compiler and Python's headers when telemetryd was installed")
    with running(python("-c", TRAINING, str(BLOCKS), str(CALLS)), tmp_path) as training:
        assert training.wait(60) == 0, training.told()
        found = json.loads(training.out().splitlines()[-1])
    assert found["offered"] == (BLOCKS + 20) * CALLS
    assert found["dropped"] == 0
    ratio = found["log"] / found["encode"]
    told = f"log {found['log']:.0f} ns, encode alone {found['encode']:.0f} ns: {ratio:.2f}x"
    print(told)
    assert ratio <= HOT_PATH_RATIO_MAX, told
