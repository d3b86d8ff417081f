"""Every limit of the wire, with its unit and its reason."""

RECORD_MAX_BYTES = 16 << 20
"""A record's body. W&B drops a history line over 10,383,360 bytes; half as much again leaves room for the envelope."""

BATCH_MAX_BYTES = 32 << 20
"""Payload of one Batch: at most one journal segment, and a segment holds at least one record of any size."""

HEADER_MAX_BYTES = 1 << 20
"""The message frame. Only Hello is large, and only by the config given to `init`."""

ENDPOINT_PATH_MAX_BYTES = 107
"""A UNIX socket path: `sun_path` has 108 bytes on Linux with its closing NUL."""
