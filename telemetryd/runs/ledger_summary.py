"""The ledger in the run's own summary, written as the run ends: a reader in W&B sees what is missing, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from client.protocol.records import Summary
from telemetryd.inbox.ledger import Account
from telemetryd.inbox.reader import EndedArtifact
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
        **{f"output_left_out_bytes/{reason}": size for reason, size in sorted(delivery.left_out.items())},
    }
    told = rank_summary(delivery.ranks)
    return Summary([*(([f"{PREFIX}{name}"], value) for name, value in values.items()), *told.update])


def rank_summary(ranks: Ranks) -> Summary:
    """The figures of a run's ranks; nothing for a run without."""
    return Summary([([f"{PREFIX}ranks/{name}"], value) for name, value in ranks.summary().items()])


def artifact_summary(stored: list[EndedArtifact], fresh: list[EndedArtifact]) -> Summary | None:
    """The summary's keys for artifacts: how many came to which end, and why some failed; None where there were none."""
    ended = {artifact.key: artifact for artifact in (*stored, *fresh)}
    if not ended:
        return None
    counts: dict[str, int] = {}
    values: dict[str, int | str] = {}
    for artifact in ended.values():
        counts[artifact.state] = counts.get(artifact.state, 0) + 1
        if artifact.error is not None:
            values[f"artifact_errors/{artifact.name}"] = artifact.error
    values |= {f"artifacts/{state}": count for state, count in counts.items()}
    return Summary([([f"{PREFIX}{name}"], value) for name, value in sorted(values.items())])
