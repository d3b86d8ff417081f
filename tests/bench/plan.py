"""How much of everything is measured: in full, below a quarter of an hour, and quick, about a minute.

The quick mode has the same scenarios but torch's with fewer calls, and peers that need no installing. Its quantiles are
wide and its goals are told for orientation; what is published comes from the full one.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.peers import PEERS

PERIOD_NS = 1_000_000
STEP_S = 0.001
WARM_UP_CALLS = 10
"""Not timed, at the head of each block: caches have gone cold while the others had their turns."""

QUICK_PEERS = ("noop", "encode", "client", "wandb")


@dataclass(frozen=True)
class Calls:
    """A scenario of single calls: `rounds` blocks of `calls` for each peer."""

    name: str
    title: str
    rounds: int
    calls: int
    kind: str = "floats"
    period_ns: int = 0
    contended: bool = False


@dataclass(frozen=True)
class Plan:
    """One mode. Counts are per peer."""

    mode: str
    peers: tuple[str, ...]
    calls: tuple[Calls, ...]
    cpu_rounds: int
    cpu_rows: int
    cpu_quiet_s: float
    step_rounds: int
    step_pairs: int
    steps: int
    growth: tuple[str, ...]
    growth_rounds: int
    growth_calls: int
    images: int
    artifacts: int
    artifact_mb: int
    starts: int
    kills: int
    killed_after_rows: int
    stopped_for_s: float


def _calls(counts: dict[str, tuple[int, int]]) -> tuple[Calls, ...]:
    """Scenarios with their (rounds, calls of a block); torch last: once it is imported, a process has its threads."""
    beside = "10 Python floats, one call a millisecond beside a thread that never gives up the GIL"
    found = (
        Calls("back_to_back", "10 Python floats, back to back", *counts["back_to_back"]),
        Calls("at_1_khz", "10 Python floats, one call a millisecond", *counts["at_1_khz"], period_ns=PERIOD_NS),
        Calls("contended", beside, *counts["contended"], period_ns=PERIOD_NS, contended=True),
        Calls("numpy", "10 numpy float32 scalars, back to back", *counts["numpy"], kind="numpy"),
        Calls("torch", "10 torch CPU scalars, back to back", *counts["torch"], kind="torch"),
    )
    return tuple(one for one in found if one.rounds)


FULL = Plan(
    mode="full",
    peers=tuple(PEERS),
    calls=_calls(
        {
            "back_to_back": (30, 500),
            "at_1_khz": (30, 100),
            "contended": (10, 120),
            "numpy": (12, 200),
            "torch": (12, 200),
        }
    ),
    cpu_rounds=3,
    cpu_rows=10_000,
    cpu_quiet_s=1.5,
    step_rounds=8,
    step_pairs=16,
    steps=50,
    growth=("keys:1", "keys:10", "keys:100", "keys:1000", "text:100", "text:10000", "text:1000000"),
    growth_rounds=5,
    growth_calls=20,
    images=20,
    artifacts=3,
    artifact_mb=500,
    starts=3,
    kills=3,
    killed_after_rows=1000,
    stopped_for_s=5.0,
)

QUICK = Plan(
    mode="quick",
    peers=QUICK_PEERS,
    calls=_calls(
        {"back_to_back": (6, 200), "at_1_khz": (5, 100), "contended": (2, 50), "numpy": (3, 100), "torch": (0, 0)}
    ),
    cpu_rounds=1,
    cpu_rows=1000,
    cpu_quiet_s=0.5,
    step_rounds=2,
    step_pairs=4,
    steps=25,
    growth=("keys:1", "keys:100", "text:10000"),
    growth_rounds=2,
    growth_calls=20,
    images=4,
    artifacts=1,
    artifact_mb=50,
    starts=1,
    kills=1,
    killed_after_rows=1000,
    stopped_for_s=2.0,
)
