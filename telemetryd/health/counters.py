"""What the daemon counts, by name. `KNOWN` is the closed list; a name outside it is a programming error."""

from __future__ import annotations

import os
import threading

KNOWN: dict[str, str] = {
    "messages_received": "messages taken from clients",
    "bytes_received": "payload bytes taken from clients",
    "rows_received": "rows stored in the inbox",
    "records_repeated": "records that had been kept before and were sent again",
    "turns": "reception turns that stored something",
    "replies_undeliverable": "answers to a connection that was gone or did not read",
    "refused_version": "hellos of another protocol major",
    "refused_malformed": "messages or payloads that are none",
    "refused_oversized": "frames or records over the limit",
    "refused_unknown_session": "batches of a session that the connection had not greeted",
    "refused_session_taken": "hellos for a session that another process or a live connection has",
    "refused_gap": "batches that began beyond what was kept",
    "refused_full": "batches refused at the inbox's cap or for want of disk room",
    "refused_stopping": "messages that came while the daemon was stopping",
    "refused_key": "handshakes of clients without a key that the daemon knows",
    "paths_refused": "artifacts over ipc whose staged content is another user's than who claimed it",
    "crowds_dropped": "times that all connections were dropped because descriptors ran short; clients come back",
    "reception_errors": "unexpected errors in reception; each has a traceback in the log",
    "adopted_sessions": "spool folders of dead processes taken over",
    "adopted_records": "records taken from them",
    "adoption_errors": "spool folders that could not be read; they stay where they are",
    "sessions_lost": "sessions whose process died without saying so",
    "early_output_dropped_bytes": "launcher output without a run, dropped at its cap",
    "artifacts_committed": "artifacts that W&B has taken",
    "artifacts_failed": "artifacts that will not get to W&B; `telemetryd status` says why",
    "content_bytes_received": "content of artifacts that came over the wire, in bytes",
    "staging_removed": "artifacts whose staged content was removed",
    "workers_started": "run workers started",
    "workers_failed": "run workers that ended before their run was finished",
    "workers_killed": "run workers killed: hung, or late at shutdown",
    "orphans_reaped": "processes left behind by run workers",
    "samplers_started": "sampling processes started",
    "samplers_failed": "sampling processes that ended unasked",
    "samplers_killed": "sampling processes killed because they said nothing any more",
    "samples_passed_on": "values of the machine handed to run workers, for System panels",
    "samples_published": "values that run workers handed to wandb",
    "samples_dropped": "values lost on the way: the daemon, a run worker or a node's journal did not take them",
    "gpu_events": "faults of GPUs and their driver: XID, ECC, lost, hung, back again",
    "health_raised": "troubles that health rules found, each once per episode; `status` has them by rule",
    "health_cleared": "those that were over again",
    "health_alerts": "alerts of runs that came of them; W&B may hold some back for their wait",
    "post_mortems": "post-mortems of crashed training processes saved with their runs",
    "health_untold": "what could not be told to a run: it was over, the inbox was full, or a node had no room for it",
    "health_errors": "unexpected errors of the health rules; each has a traceback in the log",
    "http_errors": "pages of the HTTP port that failed unexpectedly; each has a traceback in the log",
    "inboxes_moved_aside": "damaged inbox databases moved aside at start",
    "inboxes_put_back": "removed inbox databases made anew from what the open file held",
}


class Counters:
    """Thread-safe sums since the daemon's start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums = dict.fromkeys(KNOWN, 0)

    def add(self, name: str, amount: int = 1) -> None:
        """Count. Raises KeyError on a name that is not in KNOWN."""
        with self._lock:
            self._sums[name] += amount

    def defect(self, name: str, error: Exception) -> None:
        """Count an error that nobody expected and that is not to spread; in the project's own tests it is raised."""
        self.add(name)
        if os.environ.get("TELEMETRYD_RAISE"):
            raise error

    def __getitem__(self, name: str) -> int:
        with self._lock:
            return self._sums[name]

    def as_map(self) -> dict[str, int]:
        """All counters by name."""
        with self._lock:
            return dict(self._sums)
