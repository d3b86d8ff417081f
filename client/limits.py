"""Every limit and period of the client, with its unit and its reason."""

SEGMENT_BYTES = 4 << 20
"""A journal segment. Some 20,000 rows of 10 floats: at the fastest rate a segment lasts longer than two ticks."""

SPARE_SEGMENTS = 3
"""Segments kept ready, so that a logging call never finds none: at the fastest rate a quarter of a second's worth, many
times what the sender waits for the interpreter beside a thread that never lets go of it."""

SUPPLY_WAIT_S = 0.01
SUPPLY_WAIT_STEPS = 20
"""What a logging call that took the last spare gives the sender to make others: they take it some milliseconds where
nobody competes for the interpreter, and a segment holds 20,000 rows of 10 floats."""

POPULATE_BYTES = 1 << 19
"""How far ahead of the writer a segment's pages are faulted in, at least: some ticks' worth at a high rate, little
memory."""

SPOOL_MAX_BYTES = 4 << 30
"""What one process's journal may take on disk (`TELEMETRYD_SPOOL_MAX_BYTES`): some 20 million rows of 10 floats."""

MEMORY_MAX_BYTES = 64 << 20
"""What the journal may take in memory while it can have no file (`TELEMETRYD_MEMORY_MAX_BYTES`): some 300,000 rows,
little beside a training job."""

CAP_MIN_BYTES = 2 * SEGMENT_BYTES
"""The least either cap may be: the segment that is written and the next one."""

LARGE_RECORD_BYTES = 256 << 10
"""A larger record counts as large: near a cap it is dropped before small ones are."""

RESERVED_FOR_SMALL = 1 / 8
"""The part of a cap that large records leave to small ones."""

ON_FULL_TIMEOUT_S = 10.0
"""How long a call waits for room under `on_full="block"`: a restart of the daemon takes less."""

ON_FULL_TIMEOUT_MAX_S = 24 * 3600.0
"""A day: whoever waits longer wants no telemetry but a barrier."""

TICK_S = 0.05
"""The sender ships what has come this often: the last moment that a person still calls at once. Each turn takes the
interpreter from training for a tenth of a millisecond and more: at half the tick that is nearly twice as often."""

LEISURE_TURNS = 4
"""While nothing presses, only every fourth turn of the sender does more than ship: acks are not urgent at a fifth of a
second, and each message read gives the interpreter away and has to win it back."""

URGENT_TICK_S = 0.002
"""The tick while somebody waits in `flush` or `finish`."""

ASKING_TICK_S = 0.01
ASKING_TICKS_FOR_S = 10.0
"""The tick while a question is under way, and how long one may be without an answer: two MiB of an artifact's content
go up in a few of these, so they bound the rate to some 100 MiB/s."""

GREET_PERIOD_S = 0.25
"""How often the sender tries to say hello while no daemon answers: a daemon started later is found within this."""

ACK_TIMEOUT_S = 5.0
"""With records on the way and no ack for this long, the connection is made anew."""

ACK_TIMEOUT_MAX_S = 40.0
"""The ack timeout doubles up to this while a daemon does not answer: resending to a stopped one feeds its queue."""

REFUSED_PAUSE_S = 1.0
"""Pause after the daemon said that it is full or stopping."""

WINDOW_BYTES = 16 << 20
"""Bytes on the way without an ack: two ticks at the fastest rate, twice. The daemon may give a smaller window."""

RECONNECT_MIN_MS = 100
RECONNECT_MAX_MS = 2000
"""ZeroMQ's own pause between attempts to connect, doubling from the first to the second, jittered by ZeroMQ."""

HEARTBEAT_INTERVAL_MS = 5_000
HEARTBEAT_TIMEOUT_MS = 15_000
"""ZeroMQ's own ping over TCP: a host that vanished without a word is noticed, and reconnected to."""

SEND_QUEUE_MESSAGES = 64
"""Messages that ZeroMQ may hold for us; the window bounds their bytes."""

DISK_RETRY_S = 1.0
"""How often a full or unwritable spool is tried again, and a spool looked for that may have been removed."""

WATCH_PERIOD_S = 1.0
"""How often a session with callbacks is looked at; each is called at most once in this time."""

WATCH_END_S = 1.0
"""How long the end of a session waits for a callback that is still busy."""

LAG_AFTER_S = 10.0
"""Rows pending without progress for this long are told to `on_lag`: far beyond a daemon's restart and an ack's way."""

NOTICE_AFTER_S = 2.0
"""When no daemon has answered for this long after `init`, stderr says once how to start one."""

LOG_PERIOD_S = 60.0
"""The same trouble is written to the log at most this often; in between it is only counted."""

KEY_SETS_KEPT = 64
"""Sets of keys whose newest row waits for the summary to be read: train, val and a few more; then they fold."""

FINISH_TIMEOUT_S = 60.0
"""How long `finish` waits for W&B to have everything, unless told otherwise; the daemon goes on after that."""

TIMEOUT_MAX_S = 30 * 86400.0
"""The longest timeout that a call takes: a lock cannot be waited for longer than threading.TIMEOUT_MAX anyway."""

ABSENT_TIMEOUT_S = 0.5
"""How long `finish` waits for a daemon that has never answered: one that was just started greets within this."""

EXIT_TIMEOUT_S = 10.0
"""How long an interpreter that exits without `finish` waits for the daemon to have the rows; the spool keeps all."""

ANSWER_TIMEOUT_S = 10.0
"""How long `run.url` and `run.dir` wait for a connected daemon to say them."""

CLOSING_TIMEOUT_S = 10.0
"""How long `finish` still waits for W&B to close the run once all its rows are delivered: another process may keep it
open."""

CONFIG_IN_HELLO_BYTES = 256 << 10
"""A larger config goes to the daemon as a record: every new connection repeats the Hello, which has a limit."""

TERM_MESSAGES_KEPT = 1000
"""Texts remembered for `termlog(repeat=False)`, as in wandb: a program may make texts without end."""

SAVE_ALONG_BYTES = 1 << 20
"""Content of a file saved "live" or "end" that goes along although the daemon may see the file: a millisecond."""

SAVE_MAX_BYTES = 1 << 30
"""The largest content that `save` sends along: a quarter of the spool. Larger files are artifacts, or linked."""

SAVE_LIVE_PERIOD_S = 10.0
"""How often files saved "live" are looked at for a daemon on another machine, as wandb-core does by default."""

RESTORE_TIMEOUT_S = 600.0
"""How long `restore` waits for a file: a gigabyte at a slow 2 MB/s."""

RESTORE_POLL_S = 0.25
"""How often the daemon is asked whether it has downloaded the file."""

WATCH_FILL_PERIOD_S = 0.05
"""How often the thread of `watch` looks whether a step's row was closed while it has nothing to compute."""

WATCH_WAIT_S = 1.0
"""How long rows behind a watched step may be held for its histograms once none of them is left to compute."""

WATCH_PENDING_MAX_BYTES = 2 << 30
"""Copies of gradients and parameters that wait for their histograms. A step's worth of a model of 500 million
parameters in 32 bits; what is over it is left out and counted."""

SHELF_BYTES = 16 << 20
"""A shelf for the bytes of media values: twenty images of 512x512x3 fit. A larger value gets one of its own size."""

SHELVES_KEPT_BYTES = 64 << 20
"""Idle shelves kept for what comes next, because copying into pages that were used before is ten times as fast as into
new ones: four full shelves."""

BLOB_ALIGN_BYTES = 64
"""Where a chunk begins on its shelf: a cache line, which is also what arrays of any type want."""

BLOB_PART_BYTES = 4 << 20
"""The bytes of a value that go into one record; more goes into several. A quarter of what a record may have: such a
record is on its way beside rows, and none of them waits long behind it."""

EXPANDED_BATCH_BYTES = 8 << 20
"""A batch with media bytes is sent when it has so many: with one more part and a segment of rows it is still below the
wire's limit."""

INLINE_BYTES = 4 << 10
"""Smaller bytes of a media value stand within the row: a record of their own would cost more."""

# Artifacts.
ARTIFACT_INLINE_BYTES = 256 << 10
"""A file up to this size is read within `log_artifact` itself: a tenth of a millisecond."""

ARTIFACT_INLINE_TOTAL_BYTES = 2 << 20
"""What one call reads so: a millisecond. Further files are copied by the staging thread, as large ones are."""

ARTIFACT_HELD_FILES = 128
"""Files that drafts keep open, so that one that is removed or replaced is still there; an eighth of the usual limit."""

ARTIFACT_COPY_BYTES = 8 << 20
"""One step of a copy: a few milliseconds, within which the thread does not look whether it is to end."""

ARTIFACT_CLOCK_WAIT_S = 0.02
"""The longest wait for the file system's clock to tick, twice the longest tick there is."""

ARTIFACT_MAX_BYTES = 64 << 30
"""Staged content on the client's disk (`TELEMETRYD_ARTIFACT_MAX_BYTES`): some tens of checkpoints of gigabytes."""

ARTIFACT_CHUNK_BYTES = 256 << 10
"""One message of content over the wire. Metrics wait behind at most one: 2 ms at 1 Gbit/s."""

ARTIFACT_CREDIT_CHUNKS = 8
"""Chunks on the way without an answer: 2 MiB, the network's delay times its rate and little memory."""

ARTIFACT_POLL_S = 0.25
"""How often the daemon is asked how the artifacts stand that are on their way."""

ARTIFACT_ASK_TIMEOUT_S = 5.0
"""How long such a question waits: a daemon that restarts is asked again."""

ARTIFACT_USE_TIMEOUT_S = 60.0
"""How long `use_artifact` waits for W&B's answer: several retries of a slow server."""

ARTIFACT_DOWNLOAD_TIMEOUT_S = 24 * 3600.0
"""How long `download` waits, unless told otherwise: terabytes take hours. What fails is told at once."""

FACT_FILE_MAX_BYTES = 4 << 20
"""Of a patch or of the program's code kept with a run: a person reads neither beyond that, and notebooks with pictures
in them make diffs of any size."""

GIT_TIMEOUT_S = 10.0
"""For one git command beside training; a repository on a slow disk that needs longer keeps its diff."""

GIT_POLL_S = 0.1
"""How soon a git that is still busy is given up when its session ends."""

FACTS_AFTER_S = 0.05
"""How long the lookup waits before it begins, so that `init` returns first: both want the interpreter, which a thread
keeps for 5 ms at a time."""

FACTS_WAIT_S = 3.0
"""How long the end of a session waits for what is still being looked up of the process: git on a large repository."""

OUTPUT_BATCH_S = 0.075
"""Text is handed on this often: many small writes become one record, and a reader of the run sees it at once."""

OUTPUT_BATCH_BYTES = 64 << 10
"""A pipe's whole capacity: what a single read can bring."""

OUTPUT_GRACE_S = 0.5
"""After the command ended, how long its stream may be silent before it is left: something that the command left in
the background may hold it open for ever."""

OUTPUT_GRACE_MAX_S = 5.0
"""Something left in the background that never falls silent is listened to for this long."""

OUTPUT_RATE_BYTES_PER_S = 256 << 10
"""Of what a process prints into its run, for ever: thousands of lines a second, more than anybody reads; W&B takes as
much of a run beside its rows."""

OUTPUT_BURST_BYTES = 4 << 20
"""Beyond that rate, at once: the listing of a large model, a stack of tracebacks."""

OUTPUT_PIECE_MIN_BYTES = 64
"""What the smallest piece counts for: as much as its record has around the text."""

OUTPUT_TOTAL_BYTES = 1 << 30
"""Of one process's output altogether: a week of a hundred lines every minute is a twentieth of it."""

REDIRECT_CATCH_UP_BYTES = 1 << 20
"""Of a pipe whose reader has died, shown before the descriptor leads back: many times what it holds, however fast the
writer is."""

REDIRECT_START_S = 10.0
"""How long `init` waits for the helper to read, under console="redirect": a fifth of a second where nothing else runs.
If it takes longer the streams are wrapped instead."""

CONSOLE_STOP_S = 3.0
"""How long the end of a session waits until what was written before is recorded."""

SWEEP_ASK_TIMEOUT_S = 30.0
"""How long a question about a sweep waits: W&B draws parameters within a second, the daemon asks it for ten at most,
and the first question starts the process that asks."""

SWEEP_HEARTBEAT_S = 5.0
"""How often an agent tells W&B that its run goes on, and hears of a stop: wandb's own period."""

SWEEP_KILL_DELAY_S = 30.0
"""From the stop of a trial to its SIGKILL, unless WANDB_AGENT_KILL_DELAY says otherwise: wandb's own default."""

SWEEP_FLAPPING_S = 60.0
"""Within this time of an agent's start, SWEEP_FLAPPING_FAILURES failed runs end it: wandb's own rule."""

SWEEP_FLAPPING_FAILURES = 3
"""See SWEEP_FLAPPING_S."""

SWEEP_INITIAL_FAILURES = 5
"""As many failed runs and no other end an agent, unless WANDB_AGENT_MAX_INITIAL_FAILURES says otherwise: wandb's own
rule."""
