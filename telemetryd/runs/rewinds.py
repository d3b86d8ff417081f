"""Going back to a step, as a training asks by `init(resume_from=...)`: what W&B calls rewind, once for each time asked.

    batch with a Rewind ─► everything before it is delivered ─► noted "asked" ─► the worker ends
                                                                    │
    the next worker: wandb.init(resume_from=) ─► "done", noted with the folder it makes, before any row goes into it
                     not possible              ─► "refused": the steps given again are late rows

Invariants
* wandb rewinds within `init` alone, so a worker that has a run open ends, and the next one does it.
* Between "asked" and "done" no row is written, so a worker that is killed there leaves nothing that a second rewind
  could take away.
* From "asked" on a worker begins at the note's cursor, unless the inbox's is beyond: the inbox may not have heard.
"""

from __future__ import annotations

import logging

from client.protocol import records
from client.protocol.records import Rank
from telemetryd.inbox.reader import StoredBatch
from telemetryd.runs import feed
from telemetryd.runs.limits import REWIND_TRIES_MAX, ROUND_JOIN_MAX_S
from telemetryd.runs.notes import Notebook, Rewind
from telemetryd.runs.online import Approach

log = logging.getLogger(__name__)

_MARK = b"\xa1t" + b"\xa3rwd"


def asked_in(batch: StoredBatch) -> tuple[records.Rewind, Rank | None] | None:
    """The Rewind that a batch brings, with its session's place among ranks; None for nearly every batch."""
    if _MARK not in batch.body:
        return None
    place: Rank | None = None
    for record, _ in feed.decoded(batch, feed.Losses()):
        if isinstance(record, Rank):
            place = record
        elif isinstance(record, records.Rewind):
            return record, place
    return None


def news(notebook: Notebook, batch: StoredBatch) -> Rewind | None:
    """What is to be done about a batch before it is taken; None when nothing is. Notes what another rank repeats."""
    found = asked_in(batch)
    if found is None:
        return None
    record, place = found
    known = notebook.notes.rewind
    if known is not None and batch.session in known.sessions:
        return None
    rank = place.rank if place is not None else None
    world, restart = (place.world, place.restart) if place is not None else (0, 0)
    if known is not None and _is_of(known, record, rank, world, restart):
        known.sessions.append(batch.session)
        known.ranks.append(rank or 0)
        notebook.save()
        return None
    if known is not None and record.start_ns < known.start_ns:
        log.warning("rewind_outdated session=%s step=%d effect=%r", batch.session, record.step, "its rows are late")
        known.sessions.append(batch.session)
        notebook.save()
        return None
    ranks = [] if rank is None else [rank]
    return Rewind(record.step, record.start_ns, sessions=[batch.session], ranks=ranks, world=world, restart=restart)


def _is_of(known: Rewind, record: records.Rewind, rank: int | None, world: int, restart: int) -> bool:
    """Whether another rank of the same start asks for what is noted already."""
    return (
        rank is not None
        and rank not in known.ranks
        and (known.step, known.world, known.restart) == (record.step, world, restart)
        and abs(known.start_ns - record.start_ns) <= ROUND_JOIN_MAX_S * 1e9
    )


def position(notebook: Notebook, cursor: int, snapshot: bytes) -> tuple[int, bytes, bool]:
    """(cursor, snapshot) to begin at, given the inbox's, and whether the rewind lies there."""
    rewind = notebook.notes.rewind
    if rewind is None or cursor > rewind.cursor:
        return cursor, snapshot, False
    return rewind.cursor, rewind.snapshot, True


def hindrance(rewind: Rewind, approach: Approach) -> str | None:
    """Why the server is not to be asked for a rewind; None when it is."""
    if not approach.online:
        return "the daemon has no W&B API key" if approach.lacks_key else "the run is offline"
    if rewind.tries >= REWIND_TRIES_MAX:
        return f"it did not succeed in {rewind.tries} tries"
    if approach.server is None:
        return None
    facts = approach.facts
    if rewind.tries:  # it may have been done already
        return None
    if facts is None or facts.last_step is None:
        return "W&B has no rows of the run"
    return f"the run's last step in W&B is {facts.last_step}" if rewind.step > facts.last_step else None


def refuse(notebook: Notebook, rewind: Rewind, why: str) -> None:
    """Go on without."""
    log.warning("rewind_refused step=%d reason=%r effect=%r", rewind.step, why, "steps given again are late rows")
    rewind.state, rewind.reason = "refused", why
    notebook.save()


def refusal(rewind: Rewind) -> str:
    """The sentence for whoever looks after the run."""
    return (
        f"the run could not be rewound to step {rewind.step}: {rewind.reason}. Nothing is lost: steps that are logged"
        " again are kept behind the run's last row, with their own step in late_step"
    )
