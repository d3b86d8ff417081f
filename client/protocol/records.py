"""What a training process has to say, one record each: the bodies inside the journal and inside a Batch.

A record is a msgpack map with its kind under the key "t". Keys are short because rows are many; SPEC.md lists them. A
reader ignores keys and kinds it does not know. Times are integer nanoseconds since the Unix epoch.

Values in `data`, `config` and `summary` are msgpack's own (nil, bool, int, float, str, array, map) plus extension
types for what msgpack has not:

    ext 1   an integer beyond 64 bits, as ASCII decimal digits
    ext 2   an array: msgpack [dtype str, shape array, raw little-endian C-order bytes]
"""

from __future__ import annotations

from typing import Any

import msgspec

EXT_BIG_INT = 1
EXT_ARRAY = 2


class Array(msgspec.Struct, array_like=True, frozen=True):
    """An array or tensor as it was when logged (ext 2): numpy dtype string, shape, raw C-order bytes."""

    dtype: str
    shape: tuple[int, ...]
    raw: bytes


class Record(msgspec.Struct, tag_field="t", omit_defaults=True, gc=False):
    """Base of every record."""


class Row(
    Record, tag="r", rename={"step": "s", "time_ns": "n", "data": "d", "closes": "c", "explicit": "x", "fills": "f"}
):
    """One `log` call. Rows of equal step are merged; `closes` ends the row of that step.

    `step` is numbered by the client as wandb numbers it. `explicit` tells that the caller gave it; a step that was
    not given may be shifted when a resumed run turns out to start later. `fills` (since 1.2): the number of the Await
    at whose place the row belongs.
    """

    step: int
    time_ns: int
    data: dict[str, Any]
    closes: bool = True
    explicit: bool = False
    fills: int | None = None


class Config(Record, tag="cfg"):
    """Keys of `run.config` set (nested values whole) or removed."""

    update: dict[str, Any] = {}
    remove: list[str] = []


class Summary(Record, tag="sum"):
    """Values of `run.summary` set at nested paths, or removed."""

    update: list[tuple[list[str], Any]] = []
    remove: list[list[str]] = []


class Metric(Record, tag="met"):
    """One `define_metric` call; fields are wandb's arguments, None where not given."""

    name: str
    step_metric: str | None = None
    step_sync: bool | None = None
    hidden: bool | None = None
    summary: str | None = None
    goal: str | None = None
    overwrite: bool | None = None


class Output(Record, tag="out"):
    """Text that the command wrote, as it came: part of a line or many. `stream` is "stdout" or "stderr"."""

    stream: str
    text: str
    time_ns: int


class Attributes(Record, tag="att"):
    """Name, notes or tags of the run changed after `init`; None leaves one as it is."""

    name: str | None = None
    notes: str | None = None
    tags: list[str] | None = None


class Alert(Record, tag="alr"):
    """An alert (since 1.2). `level` is "INFO", "WARN" or "ERROR"; `wait_ms`: no other of this title for so long."""

    title: str
    text: str
    level: str
    wait_ms: int
    time_ns: int


class Preempting(Record, tag="pre"):
    """The run is about to be preempted (since 1.2)."""


class Pins(Record, tag="pin"):
    """Keys of the config that W&B's overview shows at the top, instead of those before (since 1.2)."""

    keys: list[str]


class Await(Record, tag="awt"):
    """Values of the row that is open here are still being computed (since 1.2).

    The session's rows from here on wait until Arrived tells the same `number`; rows that fill it do not. Numbers are
    the session's own and count up.
    """

    number: int


class Arrived(Record, tag="arv"):
    """Everything that the Await of this `number` stands for has come, or never will (since 1.2)."""

    number: int


class Losses(Record, tag="los"):
    """Rows that the client itself had to drop, by reason; each record adds to those before it."""

    rows: dict[str, int]


class Rank(Record, tag="rk"):
    """This session's place in a distributed job; its first record where there is one (since 1.2).

    `start_ns` is when the process began the run. `policy` is a rank_policy text, empty for the daemon's own;
    `timeout_s` and `series_max` are None for the daemon's own.
    """

    rank: int
    world: int
    start_ns: int
    local: int | None = None
    node: int | None = None
    host: str = ""
    restart: int = 0
    launcher: str = ""
    policy: str = ""
    timeout_s: float | None = None
    series_max: int | None = None


class Clock(Record, tag="clk"):
    """How the session's clock stood to the daemon's (since 1.2): `offset_ns` is the daemon's minus the session's, right
    within half of `delay_ns`, the time that the question and its answer took on the way."""

    time_ns: int
    offset_ns: int
    delay_ns: int


class Gone(Record, tag="gone"):
    """Written by the daemon itself, with number 0, behind a rank's last record: its process died (since 1.2)."""

    time_ns: int


class End(Record, tag="end"):
    """The session's last record.

    `exit_code` None: not known to the writer. `implicit` tells that no `finish` was called and the interpreter was
    exiting: a launcher that saw the process end knows the exit code better.
    """

    time_ns: int
    exit_code: int | None = None
    implicit: bool = False


AnyRecord = (
    Row
    | Config
    | Summary
    | Metric
    | Output
    | Attributes
    | Alert
    | Preempting
    | Pins
    | Await
    | Arrived
    | Losses
    | Rank
    | Clock
    | Gone
    | End
)

ROW_PREFIX = b"\xa1t\xa1r"
"""The bytes that follow the map's first byte in the body of a Row, so that rows can be counted without decoding."""


def decode_ext(code: int, data: memoryview) -> Any:
    """msgspec `ext_hook` for the extension types above; unknown codes stay msgspec.msgpack.Ext."""
    if code == EXT_BIG_INT:
        return int(bytes(data))
    if code == EXT_ARRAY:
        return msgspec.msgpack.decode(data, type=Array)
    return msgspec.msgpack.Ext(code, bytes(data))


_decoder: msgspec.msgpack.Decoder[AnyRecord] = msgspec.msgpack.Decoder(AnyRecord, ext_hook=decode_ext)


def decode(body: bytes | memoryview) -> AnyRecord:
    """Turn a record's body into its struct. Raises msgspec.MsgspecError (a ValueError) where it is none."""
    return _decoder.decode(body)


def is_row(body: bytes | memoryview) -> bool:
    """Whether a body is a Row, told by its first bytes."""
    return body[1:5] == ROW_PREFIX


_encoder = msgspec.msgpack.Encoder()


def encode(record: Record) -> bytes:
    """The body of a record whose values are msgpack's own. Raises TypeError on any other value."""
    return _encoder.encode(record)
