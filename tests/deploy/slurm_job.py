"""A job with a checkpoint: `slurm_job.py ROWS ROWS_PER_S`. SIGTERM: leave with 143 after the row that is being done."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import client

told: list[int] = []
signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
rows, period_s = int(sys.argv[1]), 1 / float(sys.argv[2])
checkpoint = Path("checkpoint")
first = int(checkpoint.read_text()) if checkpoint.exists() else 0
run = client.init(project="slurm", mode="offline")
print(f"run {run.id} from {first}", flush=True)
for number in range(first, rows):
    run.log({"i": number})
    checkpoint.write_text(str(number + 1))
    time.sleep(period_s)
    if told:
        sys.exit(143)
