"""The ledger in the run's own summary, written as the run ends: a reader in W&B sees what is missing, and why."""

from __future__ import annotations

from client.protocol.records import Summary
from telemetryd.inbox.ledger import Account
from telemetryd.inbox.survey import add_losses
from telemetryd.runs.delivery import Delivery

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
    }
    return Summary([([f"{PREFIX}{name}"], value) for name, value in values.items()])
