"""What a training process has to say, one record each: the bodies inside the journal and inside a Batch.

A record is a msgpack map with its kind under the key "t". Keys are short because rows are many; SPEC.md lists them. A
reader ignores keys and kinds it does not know. Times are integer nanoseconds since the Unix epoch.

Values in `data`, `config` and `summary` are msgpack's own (nil, bool, int, float, str, array, map) plus extension
types for what msgpack has not:

    ext 1   an integer beyond 64 bits, as ASCII decimal digits
    ext 2   an array: msgpack [dtype str, shape array, raw little-endian C-order bytes]
    ext 3   a media value, as what to construct: msgpack [kind str, args map] or [kind, args, step]; args are
            values too, ext 3 among them
    ext 4   bytes that went ahead in Blob records: msgpack [id, size]; id 0: they could not be kept

The kinds of ext 3 are an allow-list of the reader's; docs/media.md has them with their arguments.
"""

from __future__ import annotations

from typing import Any

import msgspec

EXT_BIG_INT = 1
EXT_ARRAY = 2
EXT_MEDIA = 3
EXT_BLOB = 4


class Array(msgspec.Struct, array_like=True, frozen=True):
    """An array or tensor as it was when logged (ext 2): numpy dtype string, shape, raw C-order bytes."""

    dtype: str
    shape: tuple[int, ...]
    raw: bytes


class Media(msgspec.Struct, array_like=True, frozen=True):
    """What to construct (ext 3): a kind, "Image" for instance, and its arguments by name.

    `at`: the step in the names of its files, where that is not its row's: wandb names them by the step it counts to.
    """

    kind: str
    args: dict[str, Any]
    at: int | None = None


class BlobRef(msgspec.Struct, array_like=True, frozen=True):
    """Bytes that Blob records of the same id brought (ext 4). An `id` of 0 stands for bytes that were lost."""

    id: int
    size: int


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
    """Text that the command wrote, as it came: part of a line or many. `stream` is "stdout" or "stderr", or "logs"
    for what `write_logs` was given (since 1.2; to an older reader that is stdout).

    `left_out` (since 1.2): bytes by reason that were not taken just before this; the text says so to its reader.
    """

    stream: str
    text: str
    time_ns: int
    left_out: dict[str, int] = {}


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


class Saved(Record, tag="sav"):
    """A file for the run's folder (since 1.2): `name` there, relative; `policy` "live", "now" or "end".

    `place`: where the file lies, as [path, device and inode of its folder], for a daemon that sees it; empty for one on
    another machine. `content` is bytes, or names them (ext 4); None: it does not go along.
    """

    name: str
    policy: str
    place: list[Any] = []
    content: Any = None


class Await(Record, tag="awt"):
    """Values of the row that is open here are still being computed (since 1.2).

    The session's rows from here on wait until Arrived tells the same `number`; rows that fill it do not. Numbers are
    the session's own and count up. One comes for each value, with its `key`; from the second on it changes nothing but
    what is counted as lost when the session ends without the value.
    """

    number: int
    key: str = ""


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


class Rewind(Record, tag="rwd"):
    """The run goes back to `step`: what it logged beyond that is to leave its history (since 1.2).

    Before the session's rows; behind its Rank where there is one. `start_ns` is when the process began the run.
    """

    step: int
    start_ns: int


class Clock(Record, tag="clk"):
    """How the session's clock stood to the daemon's (since 1.2): `offset_ns` is the daemon's minus the session's, right
    within half of `delay_ns`, the time that the question and its answer took on the way."""

    time_ns: int
    offset_ns: int
    delay_ns: int


class Gone(Record, tag="gone"):
    """Written by the daemon itself, with number 0, behind a rank's last record: its process died (since 1.2)."""

    time_ns: int


class Blob(Record, tag="blb", rename={"id": "i", "data": "b", "offset": "o"}):
    """Bytes of a media value, ahead of the record that names them by `id` (ext 4).

    Large ones come in several records of the same id, in order, other records possibly between them; `offset` is where
    these bytes belong. All have come when as many are there as the reference says. `id` is drawn at random by the
    client, and used once.
    """

    id: int
    data: bytes
    offset: int = 0


class Artifact(Record, tag="art"):
    """Something asked of W&B's artifacts (since 1.2): a version to be logged, a link to one, or the use of one.

    `id` (32 hexadecimal digits) is the client's name for it, in Staged and in the questions about it. `kind`: "log",
    "link" (`source` to `target`) or "use" (`source` is an input of the run). `source` is the id of an artifact of the
    same run, or a name as "entity/project/name:v0". `metadata` is JSON. `aliases` None: wandb's default. `ttl_s`: None
    as the team's, 0 none, -1 inherited on purpose. `base` names the version that a draft changes, `removed` what it
    drops of it. `finalize` False: a part of the artifact that writers with one `distributed_id` make together.
    """

    id: str
    kind: str = "log"
    name: str = ""
    type: str = ""
    description: str | None = None
    metadata: str = "{}"
    aliases: list[str] | None = None
    tags: list[str] | None = None
    ttl_s: int | None = None
    incremental: bool = False
    distributed_id: str | None = None
    finalize: bool = True
    use: bool = False
    base: str | None = None
    removed: list[str] = []
    source: str = ""
    target: str = ""


class Staged(Record, tag="stg"):
    """The content of artifact `id` is complete and safe from its source (since 1.2), or `error` says why it never is.

    `manifest` is the SHA-256 of the manifest's bytes, in hexadecimal; artifacts.py says how the content lies.
    """

    id: str
    manifest: str = ""
    size_bytes: int = 0
    files: int = 0
    error: str | None = None


class Process(Record, tag="pro"):
    """What was looked up of the session's process after its Hello (since 1.2): once, some moments after the first rows.

    `facts` are further RunSpec.metadata. `files` go into the run's files by their names: patches, requirements, code.
    """

    facts: dict[str, Any] = {}
    files: dict[str, bytes] = {}


class Sample(Record, tag="smp", rename={"time_ns": "n", "values": "d"}):
    """What a node read of its machine at one moment of its own clock (since 1.2); in sessions of the role "node" alone.

    `values` are by W&B's keys without "system.", with the node's label where the run has one. `node` is its host's
    name, `offset_ns` the daemon's clock minus the node's as far as it is known. `lost` values went before this for want
    of room in the node's journal.
    """

    time_ns: int
    values: dict[str, float]
    node: str = ""
    offset_ns: int | None = None
    lost: int = 0


class Event(Record, tag="evt"):
    """What happened on a node, or what a health rule found there (since 1.2); in sessions of the role "node" alone.

    `kind` is a word of docs/sampling.md's list, or the `rule`'s name; `code`, `uuid`, `rank` and `gpu` (the number that
    the run knows the card by) are there where there are such. With a `rule`, an episode of it begins for `subject`, or
    is `over`; `known`: the event itself came in a record before this. `lost` records went before this for want of room
    in the node's journal. Times and offset as in Sample.
    """

    time_ns: int
    kind: str
    message: str
    node: str = ""
    advice: str = ""
    fatal: bool = False
    code: int | None = None
    uuid: str | None = None
    rank: int | None = None
    gpu: int | None = None
    rule: str = ""
    subject: str = ""
    over: bool = False
    known: bool = False
    offset_ns: int | None = None
    lost: int = 0


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
    | Saved
    | Await
    | Arrived
    | Losses
    | Rank
    | Rewind
    | Clock
    | Gone
    | Blob
    | Artifact
    | Staged
    | Process
    | Sample
    | Event
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
    if code == EXT_MEDIA:
        return _media_decoder.decode(data)
    if code == EXT_BLOB:
        return msgspec.msgpack.decode(data, type=BlobRef)
    return msgspec.msgpack.Ext(code, bytes(data))


_media_decoder: msgspec.msgpack.Decoder[Media] = msgspec.msgpack.Decoder(Media, ext_hook=decode_ext)
_decoder: msgspec.msgpack.Decoder[AnyRecord] = msgspec.msgpack.Decoder(AnyRecord, ext_hook=decode_ext)


def decode(body: bytes | memoryview) -> AnyRecord:
    """Turn a record's body into its struct. Raises msgspec.MsgspecError (a ValueError) where it is none."""
    try:
        return _decoder.decode(body)
    except RecursionError:
        raise ValueError("a record is nested too deep") from None


def is_row(body: bytes | memoryview) -> bool:
    """Whether a body is a Row, told by its first bytes."""
    return body[1:5] == ROW_PREFIX


_encoder = msgspec.msgpack.Encoder()


def encode(record: Record) -> bytes:
    """The body of a record whose values are msgpack's own. Raises TypeError on any other value."""
    return _encoder.encode(record)
