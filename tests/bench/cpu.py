"""CPU time of processes and of what they started, to the nanosecond, and waiting until they have nothing left to do.

Linux has a clock for each process (clock_getcpuclockid): all its threads, also those that ended. A process that ends
between two looks is counted as far as the last look saw it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

from tests.support.processes import parents

_CPUCLOCK_SCHED = 2


def process_s(pid: int) -> float | None:
    """CPU time that a process has used; None when it is gone."""
    with contextlib.suppress(OSError):
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    return None


class Tree:
    """The processes below some roots, the roots included."""

    def __init__(self, *roots: int) -> None:
        self.roots = roots
        self._seen: dict[int, float] = {}

    def used_s(self, parent_of: dict[int, int] | None = None) -> float:
        """CPU time of all processes that were ever seen in the tree. `parent_of`: a look that others use as well."""
        children: dict[int, list[int]] = {}
        for pid, parent in (parents() if parent_of is None else parent_of).items():
            children.setdefault(parent, []).append(pid)
        left = list(self.roots)
        while left:
            pid = left.pop()
            left += children.get(pid, ())
            if (used_s := process_s(pid)) is not None:
                self._seen[pid] = used_s
        return sum(self._seen.values())


def used_together_s(trees: Iterable[Tree]) -> float:
    """CPU time of several trees, by one look at the machine's processes."""
    parent_of = parents()
    return sum(tree.used_s(parent_of) for tree in trees)


def come_to_rest(trees: Iterable[Tree], window_s: float = 0.1, share: float = 0.15, deadline_s: float = 5.0) -> bool:
    """Returns once the trees together use less than `share` of a core for `window_s`; False at the deadline.

    It looks at them and not at the machine: what others do on a shared machine never comes to rest.
    """
    trees = list(trees)
    end = time.monotonic() + deadline_s
    used_s, at = used_together_s(trees), time.monotonic()
    while at < end:
        time.sleep(window_s)
        now_s, now = used_together_s(trees), time.monotonic()
        if now_s - used_s < share * (now - at):
            return True
        used_s, at = now_s, now
    return False
