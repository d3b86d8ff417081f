"""The ledger in the run's own summary, written as the run ends: a reader in W&B sees what is missing, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from client.protocol.records import Summary
from telemetryd.inbox.ledger import Account
from telemetryd.inbox.survey import add_losses

if TYPE_CHECKING:
    from telemetryd.runs.delivery import Delivery
    from telemetryd.runs.ranks import Ranks

PREFIX = "_telemetryd/"


def ledger_summary(sessions: Account, delivery: Delivery) -> Summary:
    """The summary's keys for a run of which everything is confirmed. `sessions` is what clients took and lost."""
    dropped = dict(sessions.dropped)
    add_losses(dropped, delivery.dropped)
    values = {
        "offered": delivery.delivered + sum(dropped.values()),
        "delivered": delivery.delivered,
        "late": delivery.rows.late,
        **{f"dropped/{reason}": count for reason, count in sorted(dropped.items())},
        **{f"media_lost/{reason}": count for reason, count in sorted(delivery.media_lost.items())},
    }
    told = rank_summary(delivery.ranks)
    return Summary([*(([f"{PREFIX}{name}"], value) for name, value in values.items()), *told.update])


def rank_summary(ranks: Ranks) -> Summary:
    """The figures of a run's ranks; nothing for a run without."""
    return Summary([([f"{PREFIX}ranks/{name}"], value) for name, value in ranks.summary().items()])
