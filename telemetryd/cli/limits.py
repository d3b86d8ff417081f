"""Every limit and period of the command line, with its unit and its reason."""

CONNECT_TIMEOUT_S = 2.0
"""A connection that takes longer is not one on this machine or its cluster."""

PING_TIMEOUT_S = 2.0
"""A daemon's reception answers within milliseconds; a machine that swaps or has its cores full is given this."""

DAEMON_START_TIMEOUT_S = 20.0
"""A daemon is up in about a second; slow network file systems and cold caches are given this, then training starts."""

DAEMON_START_POLL_S = 0.05
"""How often a starting daemon is asked whether it is there."""

DAEMON_GIVE_UP_S = 1.0
"""From SIGTERM to SIGKILL for a daemon that never came up: before it serves it has nothing to tidy up."""

DAEMON_RESTARTS = 5
"""How often a launcher replaces its own dead daemon while the command runs: rows are safe in the spool anyway."""

DAEMON_RESTART_DELAY_S = 1.0
"""Pause before the first replacement, doubling with each."""

DAEMON_LOG_MAX_BYTES = 16 << 20
"""A longer daemon.log is put aside (one old one is kept) before a daemon is started on it."""

DAEMON_LOG_TAIL_LINES = 12
"""What is shown of the log of a daemon that did not come up: a traceback's end and its cause."""

RETIRE_TIMEOUT_S = 5.0
"""How long a settled daemon is given to end before the launcher leaves; it ends by itself all the same."""

CONSOLE_CONNECT_TIMEOUT_S = 2.0
"""The launcher's session is greeted before the command starts, so that the daemon knows who will tell its exit code."""

CONSOLE_FLUSH_SLICE_S = 0.2
"""How long an interrupt waits while the launcher hands over the last output."""

DRAIN_POLL_S = 0.25
"""How often the daemon is asked how far delivery is; its own reports come twice a second."""

DRAIN_QUIET_S = 1.0
"""A drain that is over within this is not announced."""

BAR_CHARS = 30
"""Width of the progress bar: with counts in the millions and a word beside it, it fits a terminal of 80 columns."""

ASK_TIMEOUT_S = 2.0
"""A question during the drain: a busy daemon may be slow once, and the next question comes soon."""

NO_ANSWER_PATIENCE_S = 10.0
"""A daemon that has not answered for this long during the drain is taken for gone."""

ROOM_MIN_BYTES = 1 << 30
"""With less room than this on the spool's or the inbox's disk, `doctor` warns: a day of fast logging takes more."""

INODES_MIN = 1000
"""With fewer free inodes `doctor` warns: sessions, segments and wandb's own files take some hundred a run."""

CURVE_CHARS = 40
"""Width of a metric's sparkline: with its name and last value it fits a terminal of 80 to 100 columns."""

CURVES_MAX = 24
"""Metrics shown at the end of `run`, a screen's worth."""

CURVES_MAX_FILE_BYTES = 4 << 20
"""A larger .wandb file (some 7,000 rows of 10 floats) is not read for its sparklines: that would take over a second."""

STATUS_TIMEOUT_S = 5.0
"""The answer lists up to some hundred runs, each read from the inbox."""

STATUS_FINISHED_RUNS = 20
"""Finished runs that `status` lists without a daemon: the newest are what a person looks for."""

PUSH_TIMEOUT_S = 60.0
"""How long one dead session's journal may take to be shipped: the daemon may be starting, or believe its old connection
alive for half a minute."""

TOP_INTERVAL_S = 2.0
TOP_INTERVAL_MIN_S = 0.2
"""Between two looks of `top`: an answer costs the daemon some milliseconds."""

TOP_WIDE_COLUMNS = 100
TOP_PIPE_COLUMNS = 140
"""From the first on GPUs are shown with model and clock; the second is what a frame into a pipe may take."""

TOP_EVENTS = 12
TOP_AMISS = 6
TOP_NEWEST = 6
"""Events, findings of health rules that last, and values of the newest row, that `top` shows at most: what fits a
screen's height and width."""
