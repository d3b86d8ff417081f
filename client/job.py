"""This process's part in a distributed job: where it stands, and the ids of the runs that all ranks begin together.

Every rank makes the same ids by itself: from what its launcher tells all ranks alike, the program, the project and how
many runs of that kind the process has begun. Restarted ranks begin to count anew, and so continue the same runs.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Mapping

from client import process_info, ranks
from client.policy import Policy
from client.protocol.messages import Hello
from client.protocol.records import Rank
from client.ranks import PARENT_RUNS, Place

_lock = threading.Lock()
_begun: Counter[str] = Counter()
_own_runs: list[str] = []
_told = False


def place(environ: Mapping[str, str] = os.environ) -> Place | None:
    """This process's place, None outside of a distributed job."""
    return ranks.find(environ, ranks.launcher_process)


def run_id_for(here: Place, scope: str) -> str | None:
    """The id that all ranks give to the run that this process begins now in `scope`; None where they cannot agree."""
    with _lock:
        ordinal = _begun[scope]
        _begun[scope] += 1
    if ordinal < len(here.parent_runs):
        return here.parent_runs[ordinal]
    if here.job is None:
        return None
    return ranks.run_id(here.job, process_info.program_key(), scope, ordinal)


def told_nothing_in_common(here: Place, *, silent: bool) -> None:
    """Say once that the ranks cannot find each other, and what to do."""
    global _told
    if _told or silent or here.world_size == 1:
        return
    _told = True
    print(
        f"telemetryd: rank {here.rank} of {here.world_size} gets a run of its own: the launcher ({here.launcher}) tells"
        " the ranks nothing in common that no other job has. Set TELEMETRYD_RUN_ID to one id for the job"
        " (torchrun: --rdzv-id), or give init a group.",
        file=sys.stderr,
        flush=True,
    )


def hand_on(run_id: str) -> None:
    """Leave the ids of this process's runs to ranks that it may start later (ranks.PARENT_RUNS)."""
    with _lock:
        _own_runs.append(run_id)
        os.environ[PARENT_RUNS] = f"{os.getpid()}:{','.join(_own_runs)}"


def tell(hello: Hello, here: Place) -> None:
    """Put the place into a Hello."""
    hello.rank, hello.world_size, hello.local_rank = here.rank, here.world_size, here.local_rank
    hello.node, hello.restart = here.node, here.restart


def record(here: Place, hello: Hello, policy: Policy) -> Rank:
    """The session's first record."""
    return Rank(
        here.rank,
        here.world_size,
        hello.start_time_ns,
        here.local_rank,
        here.node,
        os.uname().nodename,
        here.restart,
        here.launcher,
        policy.ranks or "",
        policy.ranks_timeout_s,
        policy.ranks_series_max,
    )


def _forget_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    _begun.clear()
    _own_runs.clear()


os.register_at_fork(after_in_child=_forget_in_child)
