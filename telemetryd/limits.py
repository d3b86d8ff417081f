"""Every limit and period of the daemon, with its unit and its reason. What a user may want to change is a setting."""

from __future__ import annotations

# The inbox.
INBOX_BUSY_TIMEOUT_S = 5.0
"""How long one connection waits for the other's transaction; each takes milliseconds, a slow disk a second."""

INBOX_PAGE_BYTES = 4096
"""SQLite's page. Measured: 1,500 transactions of 20 KiB take 0.4 s, with 8 to 32 KiB pages 0.6 to 1 s; for batches of
140 KiB the page makes no difference."""

INBOX_CHECKPOINT_PAGES = 4000
"""Pages in the write-ahead log before SQLite copies them home: 16 MiB, so that bursts are not checkpointed twice."""

INBOX_CHECKPOINT_BYTES = 16 << 20
"""The same for the thread that makes checkpoints beside reception: written since its last one, about."""

INBOX_TRANSACTION_BYTES = 24 << 10
"""What a transaction writes besides its batches, about: pages of tables and indexes."""

INBOX_LOG_MAX_PAGES = 32_000
"""Pages in the log before a commit makes a checkpoint although there is that thread: 125 MiB. At the highest rates the
log begins anew only so; the thread has copied most of it by then."""

INBOX_WAL_KEEP_BYTES = 64 << 20
"""The write-ahead log is cut back to this when a long reader had let it grow."""

INBOX_CHECK_MAX_BYTES = 256 << 20
"""A larger database is not read through at start: that would take longer than a second."""

INBOX_DELETE_SLICE = 64
"""Batches deleted in one transaction, so that the write lock is given back between slices of a large backlog."""

INBOX_VACUUM_PAGES = 512
"""Free pages given back to the file system in one turn: 2 MiB, which takes the write lock for some 30 ms."""

EARLY_OUTPUT_MAX_BYTES = 4 << 20
"""Output of a launcher that has no open run, kept for the next one; the oldest goes first."""

EARLY_OUTPUT_KEPT_NS = 3600 * 10**9
"""How long that output outlives its launcher: far longer than the adoption of a killed command's spool takes."""

FORGET_RUNS_AFTER_S = 30 * 24 * 3600.0
"""Finished runs stay in `status` and keep their dedupe marks this long after their sessions were last heard."""

SQLITE_INT_MAX = 2**63 - 1
"""The largest integer that a column takes; a peer's numbers are checked against it."""

LOSS_REASONS_MAX = 64
LOSS_REASON_MAX_CHARS = 64
LOSS_MAX_ROWS = 10**15
"""A peer's loss counts: our client knows about ten short reasons; sums stay far from an integer column's end."""

# Reception.
TURN_MAX_MESSAGES = 512
"""Messages taken in one turn, so that acks are not kept waiting behind an endless queue."""

TURN_MAX_BYTES = 32 << 20
"""Payload taken in one turn: the largest batch. At the measured 120 to 140 MB/s a turn takes a quarter of a second."""

TURN_FAILURES_MAX = 20
"""Unexpected errors in so many turns one after another end reception, and the daemon with it, to be started anew."""

RECEIVE_QUEUE_MESSAGES = 64
"""Messages that ZeroMQ holds for one peer before it stops reading from it."""

SEND_QUEUE_MESSAGES = 256
"""Acks and reports held for a peer that does not read; more are dropped, and every one of them can be lost."""

MESSAGE_SLACK_BYTES = 64 << 10
"""A frame over the protocol's limit by less than this is answered; one beyond is cut off by ZeroMQ unread."""

MAPPED_APART_BYTES = 6 << 20
"""A message from this size on gets memory of its own, which goes back when it is done with. Usual batches are of a
segment of the client's journal, 4 MiB: those come from the heap, which need not be mapped and cleared anew for each."""

HEAP_KEEPS_BYTES = 16 << 20
"""Free memory at a heap's end that is kept for the next batches: a client's window."""

WINDOW_BYTES = 16 << 20
"""What a client may have on the way. At 50 ms from batch to ack it allows 300 MB/s."""

HEARTBEAT_INTERVAL_S = 5.0
"""ZeroMQ's own ping on an idle connection; tells a vanished host from a quiet one."""

HEARTBEAT_TIMEOUT_S = 30.0
"""A peer that answers no ping for this long is disconnected; a machine that swaps heavily may take ten seconds."""

HANDSHAKE_TIMEOUT_S = 10.0
"""A connection that does not speak ZeroMQ by then is closed; a busy machine's client takes a second."""

CROWDED_SHARE = 0.75
ROOMY_SHARE = 0.6
"""All connections are dropped when so large a part of the descriptors is in use, and taken again below the second.
The rest is for what comes before reception looks again, and for the inbox and the workers' pipes."""

TAKEOVER_SILENCE_S = 1.0
"""A session's older connection must have been silent this long before the same process may come back on another."""

PROBE_INTERVAL_S = 2.0
"""How often silent connections are probed (an Ack is sent again)."""

REPORT_INTERVAL_S = 0.5
"""The least time between two ordinary reports to one run's sessions."""

STOPPING_PAUSE_S = 0.2
"""After its last turn reception lingers this long so that acks leave the process."""

NAME_MAX_BYTES = 256
"""Entity, project and run id; W&B allows 128 characters."""

STATUS_FINISHED_RUNS = 200
"""Finished runs listed in `status`; the totals count all. Keeps the answer below the wire's limit."""

ANSWER_FOLLOWED_MAX = 32
"""Runs of which `status` tells the newest row, the lag and the machine's values, up to 5 KB each: those under way
first. A daemon delivers MAX_WORKERS at the same time. /metrics has the lag of all."""

ANSWER_RUNS_MAX = 1000
"""Runs listed in one answer at most; a Report map takes up to 500 bytes and a message 1 MiB."""

ANSWER_PROCESSES_MAX = 600
"""Training processes listed in one answer at most, the newest runs' first: 300 bytes each, 500 where they lost rows."""

REFUSAL_LOG_INTERVAL_S = 10.0
"""Refusals of one kind are logged once in this time, with their count."""

CLIENT_KEYS_MAX = 4096
"""Client keys that are read; a job has one for all its nodes, or one each."""

KEYS_LOOK_INTERVAL_S = 1.0
"""How often the key files are looked at for changes, at most."""

DOOR_MAX_REQUESTS = 256
"""Handshakes answered in one turn, so that a crowd at the door does not keep those inside waiting."""

# Adoption and lost sessions.
ADOPT_INTERVAL_S = 2.0
"""How often the spool is looked through for folders whose owner is dead."""

ADOPT_SETTLE_S = 1.0
"""A journal with a gap waits this long, so that what its owner had sent and is still queued is stored first."""

RECONNECT_GRACE_S = 5.0
"""A session without a connection is not asked about before this: clients reconnect within two seconds."""

FOREIGN_SILENCE_S = 600.0
"""A session of another host or process namespace, without connection this long, is lost. It may come back any time."""

# Supervision.
STRAGGLER_OVER_SHARE = 0.2
STRAGGLER_UNDER_SHARE = 0.1
"""A rank slower than the median by more than the first becomes an event; by less than the second it is none."""

TICK_S = 0.25
"""The supervisor looks at time-driven matters this often; everything else wakes it."""

CALM_TICK_S = 1.0
"""The same while nothing is under way that time would bring about: every run has its worker and its sessions, or there
is no run. It is what an idle daemon costs; a removed inbox is noticed within it."""

ORPHANS_LOOK_S = 5.0
"""How often the children are looked through for what others have left to us, besides each time that one has ended: a
walk over all threads in /proc. What a grandchild leaves is found no sooner; it does nothing but wait to be reaped."""

WAKE_INTERVAL_S = 0.02
"""Least time between two Wake orders to one worker; it reads all there is at each."""

WORKER_SILENT_MAX_S = 600.0
"""A worker that has work, is in no reported trouble and says nothing for this long is hung: killed and restarted.
Twice what `run.finish` may take."""

WORKER_KILL_GRACE_S = 2.0
"""From the end of a worker's time to SIGKILL of its process group."""

WORKER_EXIT_GRACE_S = 30.0
"""From Finished to the worker's exit; wandb's teardown takes a second or two."""

WORKER_LOG_MAX_BYTES = 16 << 20
"""A worker's log is started anew (the old one kept as .log.1) when it is larger at the worker's start."""

RESTART_FIRST_DELAY_S = 0.5
RESTART_MAX_DELAY_S = 60.0
"""First and largest pause before a worker that failed is started again; doubled each time in between."""

RESTART_PERMANENT_FIRST_DELAY_S = 5.0
RESTART_PERMANENT_MAX_DELAY_S = 600.0
"""The same when somebody must act first, e.g. mend an API key: seldom enough not to be a nuisance to the server. A
changed key file ends the pause."""

KEY_WATCH_INTERVAL_S = 1.0
"""How often the files that may hold the W&B key are looked at: a few `stat` calls."""

RESTART_HEALTHY_AFTER_S = 60.0
"""A worker that ran this long without trouble starts from the first delay again."""

CONSOLE_GRACE_S = 0.5
"""A run ended with `finish()` waits this long for what the launcher still has of its output."""

ARRIVAL_GRACE_S = 10.0
"""A run whose sessions have all ended waits this long for those that have begun on this machine and were not heard of
yet: on a busy one the first word takes seconds."""

LAST_RESORT_STOP_S = 1.0
"""What a second SIGTERM leaves to the workers."""

IDLE_EXIT_AFTER_S = 1.0
"""A daemon told to leave when idle does so after this long without a session or anything to deliver."""

UNUSED_EXIT_AFTER_S = 60.0
"""The same when no session came at all: whoever started it may still be on the way, or has died."""

# Sampling.
SAMPLER_SILENT_MAX_S = 60.0
"""The sampling process says that it lives every five seconds; one that is silent this long is killed and restarted."""

SAMPLER_STOP_S = 2.0
"""From the closing of its order pipe to SIGKILL; it ends at once unless the machine is very busy."""

SAMPLER_IDLE_S = 30.0
"""How long the sampling process stays after the last run, so that runs that follow each other find it there."""

SAMPLE_BACKLOG_BYTES = 256 << 10
"""Orders that a worker has not read before samples for it are dropped: some minutes of eight GPUs, beside the pipe's
64 KiB."""

EVENTS_KEPT = 500
EVENTS_SHOWN = 50
"""Events that the daemon remembers, and how many of them `status` tells; an answer may take 1 MiB."""

NODE_ACTIVE_MAX = 1000
"""Troubles of nodes that are remembered as not over: some for each of hundreds of nodes."""

NODE_TEXT_MAX_CHARS = 2000
NODE_WORD_MAX_CHARS = 200
"""Of what a node tells of an event: messages and advice, and names and subjects."""

STEP_FRESH_NS = 30 * 10**9
"""An event of a node's that is older when it comes is not tied to the step that training is at now."""

EVENT_KINDS_MAX = 300
"""Kinds of events that are counted apart, each XID as one: a closed list of some tens, and NVIDIA's numbers."""

DESCRIPTORS_LOOKED_AT = 4000
"""Of one process, to recognise that it holds a session's journal; a client opens that early."""

# Health.
TAIL_MAX_CHARS = 64 << 10
TAIL_SESSIONS_MAX = 256
"""Output that is remembered of one session, and of how many: what a person reads of the last lines, and 16 MiB."""

EXIT_GRACE_S = 3.0
"""How long after a session was lost its process's exit cause may come: the kernel's word, or the launcher's."""

HEALTH_LOOK_S = 1.0
"""How often rules are looked at that time alone moves."""

OOM_COUNT_AGE_S = 5.0
"""How old the count of OOM kills may be that an exit is compared with: kills of long before are others'."""

STALLED_PIDS_NAMED = 8
"""Processes that a stall's advice names: a node's ranks, mostly; more would make it unreadable."""

STACKS_TIMEOUT_S = 20.0
"""py-spy takes a second; on a machine that swaps, more."""

STACKS_MAX_BYTES = 256 << 10
"""Of stacks that are kept: some thousand frames."""

STACKS_PROCESSES_MAX = 16
"""Processes of one run whose stacks are taken: a node's ranks."""

POST_MORTEM_SAMPLES_BYTES = 512 << 10
"""The samples in a post-mortem: five minutes of a host with two GPUs, one of a host with eight; the newest are kept."""

POST_MORTEMS_MAX = 8
"""Post-mortems of one run: when all ranks of a job die, the first ones have the cause."""

EVENT_QUIET_S = 600.0
"""Events of one kind and GPU that are so far apart are episodes of their own."""

HEALTH_PLACES_MAX = 1000
"""Paths whose file system is remembered."""

# Artifacts.
ARTIFACT_ERROR_MAX_CHARS = 2000
"""Of a reason that is kept and told: a server's whole error page helps nobody."""

ARTIFACT_LISTED = 50
"""Artifacts listed in `status`: those on their way, and as many of the newest that failed."""

ARTIFACT_FILES_MAX = 10_000_000
"""Files in one artifact that comes over the wire; wandb's own limit for references."""

CONTENT_QUEUE_MAX = 4096
"""Chunks that wait for the disk, over all clients: each has at most eight on the way, so this is never reached by
ours."""

API_IDLE_EXIT_S = 120.0
"""The process that asks W&B about artifacts ends after so long without a question; a new one takes two seconds."""

API_ANSWER_TIMEOUT_S = 600.0
"""A question that it has not answered by then ends it: it hangs. Downloads are asked about again and again instead."""

ARTIFACT_MANIFEST_MAX_BYTES = 1 << 30
"""A manifest: some ten million entries."""

ANSWER_ARTIFACTS_MAX = 100
"""Artifacts in one answer; each takes a few KB with its metadata, and a message 1 MiB."""

ARTIFACT_COPY_STEP_BYTES = 16 << 20
"""Of another user's content, between two signs of life: a tenth of a second on a slow disk."""

WANDB_CACHE_MAX_BYTES = 1 << 30
"""wandb's own cache, which holds tables and media of artifacts: files themselves never get there."""

WANDB_CACHE_LOOK_S = 60.0
"""How often it is looked at: a walk over some thousands of files."""

API_BUSY_S = 5.0
"""A daemon that may leave when idle stays so long after a question about artifacts; clients ask four times a second."""
