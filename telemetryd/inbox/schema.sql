-- The inbox: what clients have handed over and W&B has not confirmed yet.
-- SQLite in WAL mode, synchronous=NORMAL: a commit survives SIGKILL of every process; power loss is bounded by the
-- checkpoint. One process writes (the daemon), run workers read. `PRAGMA user_version` is the schema's version.

CREATE TABLE runs (
    run_id          INTEGER PRIMARY KEY AUTOINCREMENT,
    key             TEXT NOT NULL UNIQUE,        -- entity/project/id: messages.RunSpec.key()
    spec            BLOB NOT NULL,               -- RunSpec that began the run's present life, msgpack
    launch          TEXT,                        -- the launch of the newest session
    state           TEXT NOT NULL,               -- open | closing | finished
    created_ns      INTEGER NOT NULL,
    closing_code    INTEGER,                     -- the exit code to finish with, once the run is closing
    closing_batch   INTEGER,                     -- the last batch that belongs to the run before it closes
    cursor          INTEGER NOT NULL DEFAULT 0,  -- batches up to here are confirmed
    snapshot        BLOB NOT NULL DEFAULT x'',   -- row assembly's state at the cursor
    delivered       INTEGER NOT NULL DEFAULT 0,  -- rows confirmed since the run began
    late            INTEGER NOT NULL DEFAULT 0,
    dropped         BLOB NOT NULL DEFAULT x'80', -- msgpack {reason: rows}, as the worker counts them
    started         BLOB,                        -- the newest control.Started, msgpack
    life            INTEGER NOT NULL DEFAULT 1   -- rises each time a finished or closing run is opened again
) STRICT;

CREATE TABLE sessions (
    session         TEXT PRIMARY KEY,            -- 32 hexadecimal digits
    run_id          INTEGER REFERENCES runs,     -- NULL: a launcher whose command has started no run yet
    role            TEXT NOT NULL,
    launch          TEXT,
    hello           BLOB NOT NULL,               -- messages.Hello, msgpack
    acked           INTEGER NOT NULL DEFAULT 0,  -- dedupe mark: the last record kept
    received        INTEGER NOT NULL DEFAULT 0,  -- rows kept
    offered         INTEGER NOT NULL DEFAULT 0,  -- rows that the client says it took
    lost            BLOB NOT NULL DEFAULT x'80', -- msgpack {reason: rows} the client dropped itself
    state           TEXT NOT NULL,               -- open | ended | lost
    exit_code       INTEGER,
    implicit_end    INTEGER NOT NULL DEFAULT 0,
    life            INTEGER NOT NULL DEFAULT 1,  -- the run's life that the session belongs to
    seen_ns         INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_of_run ON sessions (run_id);
CREATE INDEX sessions_of_launch ON sessions (launch);

CREATE TABLE batches (
    batch           INTEGER PRIMARY KEY AUTOINCREMENT,  -- arrival order over all runs
    run_id          INTEGER,                            -- NULL until a launcher's command starts a run
    session         TEXT NOT NULL,
    first           INTEGER NOT NULL,                   -- sequence number of the first record in body
    last            INTEGER NOT NULL,
    rows            INTEGER NOT NULL,                   -- how many of the records are rows
    body            BLOB NOT NULL                       -- records as protocol/framing.py lays them out
) STRICT;
CREATE INDEX batches_of_run ON batches (run_id, batch);
CREATE INDEX batches_of_session ON batches (session, batch);
