"""What became of the rows that training offered, as far as the client knows."""

from __future__ import annotations

from typing import NamedTuple


class Ledger(NamedTuple):
    """Rows: offered = acked + pending + sum(dropped). `acked` rows are in the daemon's inbox."""

    offered: int
    acked: int
    pending: int
    dropped: dict[str, int]


NOTHING = Ledger(0, 0, 0, {})
"""No row was offered."""
