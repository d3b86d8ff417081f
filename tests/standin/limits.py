"""Every limit and period of the stand-in, with its unit and reason."""

#: W&B calls a run crashed when it has heard nothing for about five minutes.
CRASHED_AFTER_S = 300.0
#: A body held in memory: file_stream posts are at most 10 MB of lines, GraphQL less. Uploads go to disk instead.
MAX_BODY_BYTES = 64 * 1024 * 1024
#: Pieces in which uploads and downloads move between socket and disk.
CHUNK_BYTES = 1024 * 1024
#: Remembered requests; the oldest go. A test looks at hundreds; an hour's soak must not grow.
MAX_REQUESTS_LOGGED = 20_000
#: Connections waiting to be accepted: a burst of hundreds of runs must not see refusals we did not order.
BACKLOG = 1024
#: A connection that says nothing for this long is closed, so that a long-lived server keeps no dead ones.
IDLE_CONNECTION_S = 600.0
#: How long stop() waits for the connections' threads.
STOP_TIMEOUT_S = 5.0
#: Rows W&B keeps in RunResumeStatus' historyTail and eventsTail.
TAIL_LINES = 1
#: The longest a control request waits for a change before it answers "nothing".
MAX_CHANGE_WAIT_S = 30.0
#: The control API over HTTP: a local server answers in milliseconds.
CONTROL_TIMEOUT_S = 60.0
#: A process of its own is up within 0.3 s; a busy machine gets more.
START_TIMEOUT_S = 20.0
