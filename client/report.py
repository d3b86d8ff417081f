"""What `finish()` returns: where every row is."""

from __future__ import annotations

import msgspec

from client.ledger import NOTHING, Ledger
from client.protocol.messages import Report

_EXTRAS = {
    "encoder_missing": "media",
    "encoder_missing_molecules": "molecules",
    "encoder_missing_plots": "plots",
}
"""What to install beside the daemon, by the reason of a loss."""


def media_lost_text(lost: dict[str, int]) -> str:
    """What was lost of media values, and what to do where a package is missing."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(lost.items()))
    extras = ",".join(sorted(extra for reason, extra in _EXTRAS.items() if reason in lost))
    missing = f"; pip install 'telemetryd[{extras}]' beside the daemon" if extras else ""
    return f"{sum(lost.values()):,} media values lost ({reasons}){missing}; their rows were kept"


class FinishReport(msgspec.Struct, frozen=True):
    """Rows (accepted `log` calls) of the run: offered = delivered + sum(dropped) + pending.

    `state`: "finished" (W&B has the run, closed), "refused" (W&B does not take it; `trouble` says why), "delivering"
    (the daemon has the rows and goes on), "spooled" (no daemon has them yet; one that starts later takes them over),
    "disabled". `where` is the run's directory, or the spool folder; `url` its page in W&B. `process` counts this
    process's own rows, where several write to the run: offered = acked (a daemon has them) + dropped + pending.
    `artifacts` counts what this process logged and linked: "committed", "recorded" (offline), "failed", "pending".
    """

    offered: int = 0
    delivered: int = 0
    dropped: dict[str, int] = {}
    pending: int = 0
    state: str = "disabled"
    where: str | None = None
    url: str | None = None
    trouble: str | None = None
    process: Ledger = NOTHING
    media_lost: dict[str, int] = {}
    """Media values by reason that delivered rows had to go without."""
    artifacts: dict[str, int] = {}

    def __str__(self) -> str:
        if self.state == "disabled":
            return "telemetryd: the run is disabled; nothing was recorded"
        lost = sum(self.dropped.values())
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.dropped.items()) if count)
        counts = (
            f"{self.offered} rows offered: {self.delivered} delivered, {lost} dropped"
            f"{f' ({reasons})' if reasons else ''}, {self.pending} pending"
        )
        lines = [f"telemetryd: run {self.state}. {counts}"]
        if self.process.offered != self.offered:
            own = self.process
            lost = sum(own.dropped.values())
            said = f"{own.offered}, {lost} dropped, {own.pending} with no daemon yet"
            lines.append(f"  of these from this process: {said}")
        if self.artifacts:
            told = ", ".join(f"{count} {state}" for state, count in sorted(self.artifacts.items()))
            lines.append(f"  artifacts: {told}")
        if self.trouble:
            lines.append(f"  trouble: {self.trouble}")
        if self.media_lost:
            lines.append(f"  {media_lost_text(self.media_lost)}")
        if self.url:
            lines.append(f"  W&B: {self.url}")
        if self.where:
            lines.append(f"  files: {self.where}")
        if self.pending and self.state == "spooled":
            lines.append("  a daemon will take the pending rows over: start one with `telemetryd serve`")
        return "\n".join(lines)


def finish_report(ledger: Ledger, report: Report | None, acked: bool, spool_folder: str | None) -> FinishReport:
    """Join what this process counted and what the daemon said last, so that the ledger adds up."""
    if report is None:
        pending = ledger.offered - sum(ledger.dropped.values())
        state = "delivering" if acked else "spooled"
        where = None if acked else spool_folder
        return FinishReport(ledger.offered, 0, dict(ledger.dropped), pending, state, where, process=ledger)
    dropped = {
        reason: max(report.dropped.get(reason, 0), ledger.dropped.get(reason, 0))
        for reason in (*report.dropped, *ledger.dropped)
    }
    offered = max(report.offered, ledger.offered, report.delivered + sum(dropped.values()))
    pending = offered - report.delivered - sum(dropped.values())
    state = report.state if report.state in ("finished", "refused") else "delivering" if acked else "spooled"
    where = report.directory or (None if acked else spool_folder)
    return FinishReport(
        offered,
        report.delivered,
        dropped,
        pending,
        state,
        where,
        report.url,
        report.trouble,
        ledger,
        report.media_lost,
    )
