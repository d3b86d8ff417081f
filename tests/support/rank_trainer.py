"""One rank of a job for tests: real gloo collectives, numbered values, and faults on demand.

    torchrun --nproc_per_node=4 tests/support/rank_trainer.py STEPS [--policy P] [--group G] [--checkpoint FILE]
        [--kill-rank R --kill-at S] [--silent-rank R] [--lag-rank R] [--sleep-s T]

Rank r logs {"v": 100 * r + step, "name": "rank r"} at every step. With --checkpoint, the step that all ranks have
finished is kept there, and steps are given to `log`: a restarted group goes on behind it. A killed rank goes at the
given step, once a job. --lag-rank logs its rows only after all the others have logged theirs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("steps", type=int)
    parser.add_argument("--policy", default=None)
    parser.add_argument("--group", default=None)
    parser.add_argument("--checkpoint", type=Path, default=None)
    parser.add_argument("--kill-rank", type=int, default=-1)
    parser.add_argument("--kill-at", type=int, default=-1)
    parser.add_argument("--silent-rank", type=int, default=-1)
    parser.add_argument("--lag-rank", type=int, default=-1)
    parser.add_argument("--timeout-s", default=None)
    parser.add_argument("--sleep-s", type=float, default=0.0)
    arguments = parser.parse_args()

    import client

    torch.set_num_threads(1)
    # A prefix of its own for each start: gloo finds addresses of the ranks before it in the agent's store otherwise.
    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    store = dist.PrefixStore(f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    settings = client.Settings(ranks=arguments.policy, ranks_timeout_s=arguments.timeout_s)
    run = client.init(
        project="ranks", group=arguments.group, config={"world": dist.get_world_size()}, settings=settings
    )
    # In one write: torchrun starts `python -u`, where `print` writes the end of a line apart, and ranks share a file.
    sys.stdout.write(f"rank {rank} of {dist.get_world_size()} run {run.id} pid {os.getpid()}\n")
    sys.stdout.flush()
    checkpoint = arguments.checkpoint
    first = int(checkpoint.read_text()) if checkpoint is not None and checkpoint.exists() else 0
    for step in range(first, arguments.steps):
        first_time = os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0"
        if rank == arguments.kill_rank and step == arguments.kill_at and first_time:
            os.kill(os.getpid(), signal.SIGKILL)
        if rank not in (arguments.silent_rank, arguments.lag_rank):
            log(run, rank, step, given=checkpoint is not None)
        time.sleep(arguments.sleep_s)
        dist.all_reduce(torch.ones(1))
        if checkpoint is not None and rank == 0 and (step + 1) % 5 == 0:
            checkpoint.write_text(str(step + 1))
    if rank == arguments.lag_rank:
        for step in range(first, arguments.steps):
            log(run, rank, step, given=checkpoint is not None)
    run.finish(timeout_s=5)
    dist.destroy_process_group()


def log(run: object, rank: int, step: int, *, given: bool) -> None:
    row = {"v": 100 * rank + step, "name": f"rank {rank}"}
    run.log(row, step=step if given else None)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
