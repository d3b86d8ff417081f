"""What waits on disk while no daemon is there: the inbox's ledger, and the journals in the spool."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from client.journal import folder as spool_folder
from telemetryd.errors import InboxError
from telemetryd.inbox.ledger import Account, ProcessAccount, RunAccount
from telemetryd.inbox.store import FILE_NAME, Inbox
from telemetryd.limits import ANSWER_PROCESSES_MAX


@dataclass(frozen=True)
class Spool:
    """The journals in a spool: how many, of how many living processes, and what they take on disk."""

    path: Path
    sessions: int
    living: int
    bytes: int

    def as_map(self) -> dict[str, Any]:
        """As JSON prints it."""
        return {"path": str(self.path), "sessions": self.sessions, "living": self.living, "bytes": self.bytes}


def survey_spool(spool_dir: Path) -> Spool:
    """Look through the spool; what cannot be read counts as nothing."""
    sessions = living = size = 0
    with contextlib.suppress(OSError):
        for folder in spool_dir.iterdir():
            if not (folder / spool_folder.HELLO_NAME).exists():
                continue
            with contextlib.suppress(OSError):
                sessions += 1
                size += sum(entry.stat().st_blocks * 512 for entry in folder.iterdir())
                lock = spool_folder.OwnerLock.take(folder)
                if lock is None:
                    living += 1
                else:
                    lock.release()
    return Spool(spool_dir, sessions, living, size)


def read_inbox(state_dir: Path, finished: int) -> tuple[dict[str, Any], str | None]:
    """The inbox's ledger in the form of the daemon's `status`, and why it cannot be told if it cannot."""
    path = state_dir / FILE_NAME
    if not path.exists():
        return _as_status(Account(), []), None
    try:
        with contextlib.closing(Inbox(path)) as inbox:
            ledger = inbox.ledger
            runs = [_run(run, ledger.processes(run.run_id, ANSWER_PROCESSES_MAX)) for run in ledger.listed(finished)]
            return _as_status(ledger.total(), runs), None
    except InboxError as error:
        return _as_status(Account(), []), f"the inbox {path} cannot be read: {error}"


def _as_status(total: Account, runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {**_counts(total), "runs": runs}


def _run(run: RunAccount, processes: list[ProcessAccount]) -> dict[str, Any]:
    started: dict[str, Any] = msgspec.msgpack.decode(run.started) if run.started else {}
    return {
        "key": run.key,
        "launch": run.launch,
        "state": run.state,
        "exit_code": run.exit_code,
        **{name: started.get(name) for name in ("name", "mode", "directory", "url")},
        **_counts(run.account),
        "processes": [process.as_map() for process in processes],
    }


def _counts(account: Account) -> dict[str, Any]:
    return {
        "offered": account.offered,
        "delivered": account.delivered,
        "dropped": account.dropped,
        "pending": account.pending,
        "late": account.late,
        "media_lost": account.media_lost,
    }
