-- What clients asked of W&B's artifacts, from the record that announces it to its end. The content lies beside the
-- inbox (client/protocol/artifacts.py), and goes once the state is an end.
CREATE TABLE artifacts (
    artifact        INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order in which they are worked off, within a run
    run_id          INTEGER NOT NULL REFERENCES runs,
    session         TEXT NOT NULL,
    id              TEXT NOT NULL,               -- the client's name for it: 32 hexadecimal digits
    kind            TEXT NOT NULL,               -- log | link | use
    name            TEXT NOT NULL,
    record          BLOB NOT NULL,               -- records.Artifact, msgpack
    state           TEXT NOT NULL,               -- announced | staged | uploading | committed | recorded | failed
    manifest        TEXT NOT NULL DEFAULT '',    -- SHA-256 of the content's manifest, once staged
    size_bytes      INTEGER NOT NULL DEFAULT 0,
    tries           INTEGER NOT NULL DEFAULT 0,  -- how often an upload was begun
    error           TEXT,                        -- why it failed
    info            BLOB,                        -- what W&B says of the version, msgpack map
    created_ns      INTEGER NOT NULL,
    UNIQUE (session, id)
) STRICT;
CREATE INDEX artifacts_of_run ON artifacts (run_id, artifact);
