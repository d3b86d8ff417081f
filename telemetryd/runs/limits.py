"""Every limit and period of the run worker, with its unit and its reason."""

HELD_MAX_BYTES = 4 << 20
"""Late rows that wait for a free step (rows.py). They travel in every snapshot, about twice a second; the cap
keeps that cheap, and lies far below control.REPORT_MAX_BYTES."""

OPEN_ROW_MAX_BYTES = 8 << 20
"""Log calls merged into one open row before it is closed early. W&B refuses a history line over 10,383,360 bytes, so a
row that grew on would be lost there."""

AWAIT_HELD_MAX_BYTES = 16 << 20
"""Records of a session that wait for values computed later (awaits.py): seconds of rows, little memory. Over it they go
on without, and the values become late rows."""

READ_MAX_BYTES = 4 << 20
"""Batches taken from the inbox at once. Small enough that an order is seen within a fraction of a second, large enough
that a query costs nothing beside what it brings."""

UNREAD_MAX_ROWS = 20_000
"""Rows written and not yet readable in the .wandb file before the worker waits for wandb-core: over a second of its
best rate. Bounds the memory of wandb-core's queue."""

UNCONFIRMED_MAX_ROWS = 200_000
"""Rows written and not yet confirmed: what is replayed after a crash, in some ten seconds. W&B has a row some seconds
after the file and is asked for its count every five, so at 12,000 rows a second 100,000 are always under way."""

FLUSH_INTERVAL_S = 0.5
"""How often wandb-core writes its block buffer to the .wandb file (its default is 15 s). A row counts as delivered once
it can be read back, so this is the usual lag of delivery."""

PROGRESS_INTERVAL_S = 0.5
"""Between two Progress reports: what a person sees as at once, and a few transactions a second for the supervisor."""

CONFIRM_INTERVAL_S = 0.1
"""Between two looks at the .wandb file while rows wait to be confirmed."""

IDLE_POLL_S = 1.0
"""Longest sleep with nothing to do. Wake orders end it at once; this bounds the harm of one that got lost."""

SETTLE_TIMEOUT_S = 30.0
"""How long everything written may stay unreadable in the .wandb file before the worker says that wandb-core is stuck.
Sixty flush intervals; a slow disk needs a few."""

INIT_TIMEOUT_S = 30.0
"""`wandb.init`'s own limit (its default is 90 s); past it the worker exits and is started again with backoff.
The server has answered a question of ours just before, so a longer wait means that it went away meanwhile."""

PREFLIGHT_INTERVAL_S = 1.0
"""Between two tries to reach a server that does not answer, before the run is opened."""

ASK_TIMEOUT_S = 10.0
"""One question to W&B's server; it answers within a second, a busy one of one's own within a few."""

ANSWER_MAX_BYTES = 64 << 20
"""Of one answer: a run's summary is a part of it, and may hold tables."""

POLL_FIRST_S = 1.0
POLL_MAX_S = 5.0
"""Between two questions for a run's line count while rows are on their way; grows to the second while nobody waits for
the end of the run. A fifth of a question a second and run stays far below W&B's limits."""

SERVER_NOTICE_S = 5.0
"""How long W&B may not answer, or not take what it is sent, before that is reported as trouble. A request that was
dropped and sent again takes two."""

SERVER_LOST_S = 60.0
"""How long the server's count may stand still, with the server answering and wandb-core not trying again, before what
was sent counts as lost and is sent once more by a new worker; doubled with each one that brought nothing forward."""

SERVER_LOST_MAX_S = 3600.0
"""The longest of those waits: each new worker writes the unconfirmed rows into a file of its own."""

GARBAGE_LOST_S = 5.0
"""The same when wandb-core has logged an answer that it could not read: it takes such for success."""

PUT_BACK_ROWS = 500
"""Rows in one request that puts back what such an answer may have lost: some hundred KB."""

PUT_BACK_PAUSE_S = 5.0
"""Between two tries of that while the server does not take it."""

SERVER_FINISH_S = 60.0
"""After `run.finish` has returned: how long until the server must have every row."""

UPLOAD_INTERVAL_S = 1
"""Between two uploads of rows, whole seconds (wandb's default is 15): the usual lag of delivery online. W&B takes two
uploads a second from a run, by its own documentation. Of a backlog wandb-core walks all rows that wait for the next
upload again with each one that joins them, and past ten MiB it uploads at once but lets later uploads wait for it: at
two seconds that was a tenth of its CPU, and four seconds of nothing at the end of 200,000 rows."""

RETRY_WAIT_MAX_S = 15
"""wandb-core's longest pause before it tries a failed upload again (its default is 60 s): what is lost of the time
after W&B has come back."""

FILE_STREAM_TIMEOUT_S = 60
"""Of one upload of rows, whole seconds: ten MiB over a slow line; past it wandb-core tries again."""

GRAPHQL_RETRIES = 10_000
"""Tries of a config or summary update (wandb's default is 20, after which it is given up silently): two days."""

KEY_POLL_S = 1.0
"""How often a run that was begun without a key looks whether there is one now."""

FINISH_TIMEOUT_S = 300.0
"""`run.finish`'s limit (wandb's default is none): uploads of the run's files can be long. Past it the worker exits, is
started again, and finishes what is left."""

FAST_BATCH_ROWS = 200
"""Rows sent to wandb-core in one socket write. Measured on two cores: 13,500 rows/s against 4,400 with `run.log`; other
sizes were not tried."""

STEPS_REMEMBERED = 400_000
"""Steps of a run's newest rows that a worker reads from earlier files, to tell what it must write again: twice
UNCONFIRMED_MAX_ROWS, some 15 MB. Older rows are taken to be there: files hold a prefix of what was written."""

SUMMARIES_AT_ONCE = 500
"""wandb-core's summaries, one a row, that are decoded together: one message costs less than many."""

CARRIED_BEAT_RECORDS = 1_000_000
"""Records of earlier files between two signs of life: some seconds."""

CORE_GC_PERCENT = 400
CORE_MEMORY_SOFT_MIB = 512
"""wandb-core's garbage collection (GOGC): at Go's own 100 it takes a fifth of the CPU that a row costs there, for some
MiB of heap. Above the second (GOMEMLIMIT) it collects as often as it must."""

PREDECESSOR_WAIT_S = 10.0
"""How long a killed worker or wandb-core may take to go. SIGKILL acts at once unless the process is stuck in the
kernel; then nothing may read or write its run's file, and the worker gives up to be started again."""

NEWEST_VALUES_MAX = 12
NEWEST_TEXT_MAX_CHARS = 60
"""Values of the newest row that `telemetryd top` can show: what fits beside a run, in some hundred bytes a report."""

SAMPLES_WAITING_MAX = 600
"""Samples of the machine that wait while the worker starts or is stuck in wandb: some minutes of eight GPUs."""

SAMPLES_SHOWN_FOR_S = 180.0
"""How long a value that was not renewed stays on the endpoint that wandb-core scrapes: longer than usual periods."""

SAMPLES_REMEMBERED = 8192
"""The newest samples in a run's earlier files, so that what other nodes sent is not shown twice after a worker died:
many times what it had in hand."""

CLOCK_OFFSET_KEY = "host.clock.offsetSeconds"
"""The System panel's key for how much the daemon's clock is ahead of another node's."""

WANDB_SAMPLER_OFF_S = 1e6
"""wandb's own sampling interval while the daemon samples: one sample at the start, which brings the run's metadata the
names of CPU, GPU, memory and disk, and none after it."""

NO_GPU = 9999
"""The number of a GPU that no machine has."""

CHECKPOINT_ROWS = 2_000
"""Rows between two noted batch boundaries while the worker is behind; a boundary is noted at once when it is not."""

CHECKPOINTS_MAX = 8
"""Noted boundaries that wait to be confirmed: the oldest ones, and the newest. Each holds a snapshot (HELD_MAX_BYTES
and OPEN_ROW_MAX_BYTES at most)."""

STALL_NOTICE_S = 5.0
"""How long nothing may be confirmed before it is reported as trouble; ten flush intervals."""

STOP_GRACE_S = 5.0
"""What SIGTERM leaves to the worker: as an order to stop within this time."""

PREDECESSOR_POLL_S = 0.02
"""Between two looks whether a killed process is gone; there is no event to wait on for another's child."""

ORPHAN_GRACE_S = 1.0
"""After the end of a Stop's time, before the process ends itself although its main thread is stuck in wandb."""

CORE_LOG_READ_BYTES = 4 << 20
"""Of wandb-core's log in one piece; it writes a few lines a second."""

RANK_TIMEOUT_S = 30.0
"""How long a row waits for the other ranks, by the clocks of the rows: far longer than ranks in step are apart, short
enough that a curve does not seem to stand still. `ranks_timeout_s` overrides it."""

RANK_TIMEOUT_MAX_S = 24 * 3600.0
"""A day: who waits longer wants no row at all."""

JOIN_MAX_BYTES = 8 << 20
"""Rows that wait for other ranks: 1,000 steps of 64 ranks with 10 floats each. They travel in every snapshot; beyond it
the oldest step is written with the ranks that it has."""

SERIES_MAX = 2_000
"""Series named rank{r}/key in one run, unless `ranks_series_max` says otherwise: W&B's pages grow slow beyond some
thousands."""

WORLD_MAX = 1 << 16
"""Ranks of one job that are believed; each one that does not come costs a set entry at every step."""

RANK_ROUNDS_MAX = 8
"""Starts of the ranks that are remembered, to tell a late process of an earlier one from a new one."""

ROUND_JOIN_MAX_S = 600.0
"""Ranks that begin within this time of each other can belong to one start: a large job's nodes come up over minutes."""

REWIND_TRIES_MAX = 5
"""How often wandb is asked to rewind a run, a worker each, before its rows go on as late ones."""

ENDED_MEMBERS_MAX = 1024
"""Ended sessions of ranks that are remembered, should one of them prove to live."""

MAIN_WAIT_S = 10.0
MAIN_WAIT_MAX_BYTES = 1 << 20
"""How long, by the rows' clocks, and up to what size rows of other ranks are kept while no session of rank 0 has come.
Then the lowest rank that has is taken for the main one: some programs log from their last rank alone."""

STEP_TIME_WEIGHT = 1 / 32
"""The weight of the newest step in a rank's mean step time: a change shows after some tens of steps."""

STEP_TIME_MIN_STEPS = 3
"""Steps before a rank's time is told: the first one holds compilation and the first batch."""

RANK_SUMMARY_INTERVAL_S = 60.0
"""Between two writings of the ranks' figures into the run's summary, by the rows' clocks."""

BLOBS_MEMORY_MAX_BYTES = 64 << 20
"""Bytes of media values kept in memory before the row that names them has come; more go into files."""

TABLES_KEPT = 10_000
"""Logged tables of a run that are remembered, some 400 bytes each, for the case that the same one is logged again."""

LINKED_TABLES_KEPT = 16
LINKED_ROWS_MAX = 10_000
"""Logged tables kept as wandb's objects, and their rows at most: another table that is linked to one of them then
refers to its artifact instead of holding a copy. Programs log what belongs together one after the other."""

ARTIFACT_POLL_S = 0.25
"""Between two looks whether the content of an artifact has come."""

ARTIFACT_BEAT_S = 5
"""How often an upload that lasts is said to go on, in whole seconds: far below WORKER_SILENT_MAX_S."""

ARTIFACT_TRIES = 3
ARTIFACT_TRY_PAUSE_S = 2.0
"""Uploads of one artifact before it fails, and the pause after the first (doubled, then tripled): wandb-core itself has
tried every request many times before."""

ARTIFACT_TRIES_EVER = 20
"""Uploads begun over all workers: one that kills each worker must not keep the run from its end."""

DOWNLOAD_TRIES = 3
"""Downloads of a file whose digest is wrong before that is an error."""

DOWNLOAD_BUSY_S = 15.0
"""A cached version that was asked for, or read over the wire, so recently is not removed for another: a client asks,
and then takes its lock or reads on."""

FACTS_WAIT_S = 10.0
"""How long a worker waits, before it begins the run, for what a client said that it would look up of its process: as
long as that waits for git. It takes a tenth of a second, and rows are safe in the inbox meanwhile."""

FACTS_POLL_S = 0.05
"""Between two looks into the inbox meanwhile."""

FACTS_SCAN_BYTES = 64 << 20
"""Of the inbox, at most, when many rows came before: reading them takes a tenth of a second."""

PIECE_BYTES = 512 << 10
"""A piece of a restored file in one answer: half of what a message frame may hold."""

TICKET_IDLE_S = 120.0
"""A restored file that nobody asks on for is removed: a client asks several times a second."""

LOSS_NAMES_MAX = 10_000
"""Names of metrics of which is remembered whether they are losses; runs have some hundreds."""

UPLOAD_PIECE_BYTES = 64 << 10
"""What is sent at once under a limit: a quarter of a second at the lowest one, few system calls at a high."""

UPLOAD_BURST_S = 0.05
"""How far ahead of the limit uploads may be: longer than a sleep is late on a busy machine, too short to be felt."""

UPLOAD_PROMPT_BYTES = 1 << 20
UPLOAD_PROMPT_WINDOW_S = 10.0
"""What a connection to W&B itself may send in a while without waiting behind uploads: rows of 10 floats at 500 Hz."""

UPLOAD_PROMPT_CREDIT_S = 2.0
"""How far ahead of the limit such bytes may bring the line, which uploads then wait for: more would be no limit."""

UPLOAD_AHEAD_MAX_S = 60.0
"""A line that is taken for longer was taken before the machine was started: far more than all credit together."""

UPLOAD_HEAD_MAX_BYTES = 64 << 10
"""The head of a request or an answer; servers take 8 to 16 KiB."""

UPLOAD_HEAD_TIMEOUT_S = 30.0
"""How long wandb-core may take to say what it wants of a connection; it does so at once."""

UPLOAD_DIAL_TIMEOUT_S = 30.0
"""How long a connection to the server may take, a further proxy included; Go's own limit."""

UPLOAD_LINGER_S = 10.0
"""How long a server may go on to answer after wandb-core has hung up."""

UPLOAD_FINISH_TIMEOUT_S = 24 * 3600.0
"""FINISH_TIMEOUT_S where uploads are limited: files saved with the run may take hours, and must not begin again."""
