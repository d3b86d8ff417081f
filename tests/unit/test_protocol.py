"""The wire: golden bytes of each released version, and a decoder that takes no harm from any bytes."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.protocol import frames, framing, messages, records, version
from client.protocol.errors import MalformedError, OversizedError, ProtocolError, VersionError
from client.protocol.limits import BATCH_MAX_BYTES, HEADER_MAX_BYTES, RECORD_MAX_BYTES

GOLDEN = Path(__file__).parent.parent / "golden"

SPEC = messages.RunSpec(
    "r1", "ent", "proj", "name", "notes", ["a"], "group", "job", {"lr": 0.1}, "offline", "allow", "/w", True, {"x": 1}
)
BLOB = records.BlobRef(1 << 61, 6)
ARRAY = records.Media("array", {"dtype": "|u1", "shape": [1, 2, 3], "data": BLOB})
MEDIA = records.Media("Image", {"data_or_path": ARRAY, "caption": "c"}, 7)
TABLE = records.Media(
    "Table",
    {
        "id": "p-1", "version": 0, "columns": ["a"], "types": [{"wb_type": "number"}], "mode": "INCREMENTAL",
        "count": 3, "increment": 1, "sent": 2, "data": b"\x91\x91\x01",
    },
)  # fmt: skip
SAMPLES: dict[str, messages.Message | records.Record] = {
    "hello": messages.Hello(
        "ab" * 16, run=SPEC, launch="cd" * 16, pid=7, host="h", start_time_ns=5, client_version="1"
    ),
    "batch": messages.Batch("ab" * 16, 3, 9, 123456, 7),
    "ask": messages.Ask(1, "status", {"a": [1]}),
    "bye": messages.Bye("ab" * 16),
    "welcome": messages.Welcome("ab" * 16, 4, daemon="d", window_bytes=100),
    "ack": messages.Ack("ab" * 16, 9),
    "report": messages.Report("ab" * 16, "running", 9, 5, 3, {"corrupt": 1}, 2, "offline", "/d", "u", "n", "e", "p"),
    "answer": messages.Answer(1, {"ok": True}, None),
    "refuse": messages.Refuse("gap", "send again", "ab" * 16, 4),
    "hello_1_2": messages.Hello("ab" * 16, 1, 2, "console", launch="cd" * 16),
    "hello_1_1": messages.Hello("ab" * 16, 1, 1, "console", launch="cd" * 16),
    "report_stop": messages.Report("ab" * 16, "running", stop_requested=True),
    "row": records.Row(5, 1_700_000_000_000_000_000, {"loss": 0.5, "n": 3, "s": "x", "none": None}),
    "row_explicit": records.Row(5, 1, {"a": {"b": [1, 2]}}, closes=False, explicit=True),
    "row_big_int": records.Row(0, 1, {"n": msgspec.msgpack.Ext(records.EXT_BIG_INT, b"36893488147419103232")}),
    "config": records.Config({"a": 1}, ["b"]),
    "summary": records.Summary([(["a", "b"], 1.5)], [["c"]]),
    "metric": records.Metric("val/*", step_metric="step", summary="min"),
    "output": records.Output("stderr", "text\n", 9),
    "attributes": records.Attributes(name="n", tags=["t"]),
    "row_fills": records.Row(5, 1, {"h": {"_type": "histogram", "values": [1], "bins": [0, 1]}}, False, fills=2),
    "alert": records.Alert("t", "text", "WARN", 60000, 9),
    "preempting": records.Preempting(),
    "pins": records.Pins(["lr"]),
    "saved": records.Saved("a/b.txt", "live", ["/w/a/b.txt", 7, 9], b"text"),
    "await": records.Await(2),
    "await_key": records.Await(2, "gradients/0.weight"),
    "arrived": records.Arrived(2),
    "losses": records.Losses({"spool_full": 3}),
    "hello_rank": messages.Hello(
        "ab" * 16, 1, 2, run=SPEC, rank=3, world_size=4, local_rank=1, node=1, restart=2, sent_ns=9
    ),
    "welcome_clock": messages.Welcome("ab" * 16, 4, 1, 2, hello_ns=9, received_ns=11, sent_ns=12),
    "rank": records.Rank(3, 4, 9, 1, 1, "h", 2, "torchrun", "main,loss=aggregate", 30.0, 100),
    "rewind": records.Rewind(9, 5),
    "clock": records.Clock(9, -5, 3),
    "gone": records.Gone(9),
    "hello_facts": messages.Hello("ab" * 16, 1, 2, facts=True),
    "output_after_a_gap": records.Output("stdout", "left out\n", 9, {"rate": 5}),
    "process": records.Process({"python": "CPython 3.12.1"}, {"diff.patch": b"-a\n"}),
    "end": records.End(9, 3, True),
    "hello_node": messages.Hello("ab" * 16, 1, 2, "node", run=messages.RunSpec("r1", project="p"), host="h", sent_ns=9),
    "sample": records.Sample(9, {"cpu": 1.5, "gpu.0.temp/l:n1": 60.0}, "n1", -5, 3),
    "event": records.Event(9, "xid", "off the bus", "n1", "reset it", True, 79, "GPU-1", 5, 0, offset_ns=-5, lost=2),
    "event_found": records.Event(9, "disk", "99 % used", "n1", rule="disk", subject="/", known=True),
    "event_over": records.Event(9, "disk", "it is over", rule="disk", subject="/", over=True),
    "blob": records.Blob(1 << 61, b"\x00\xff", 4 << 20),
    "row_media": records.Row(2, 1, {"img": MEDIA}),
    "artifact": records.Artifact(
        "ef" * 16,
        name="m",
        type="model",
        description="d",
        metadata='{"a":1}',
        aliases=["best"],
        tags=["t"],
        ttl_s=60,
        incremental=True,
        distributed_id="g",
        finalize=False,
        use=True,
        base="e/p/m:v0",
        removed=["x"],
    ),
    "artifact_link": records.Artifact("ef" * 16, "link", source="ab" * 16, target="registry/m"),
    "staged": records.Staged("ef" * 16, "0f" * 32, 9, 2),
    "staged_not": records.Staged("ef" * 16, error="source changed"),
    "row_table": records.Row(3, 1, {"t": TABLE}),
}


def as_ext(value: object) -> msgspec.msgpack.Ext:
    """How values of extension types are written."""
    if isinstance(value, records.BlobRef):
        return msgspec.msgpack.Ext(records.EXT_BLOB, msgspec.msgpack.encode([value.id, value.size]))
    assert isinstance(value, records.Media)
    args = {name: as_ext(item) if isinstance(item, msgspec.Struct) else item for name, item in value.args.items()}
    listed = [value.kind, args] if value.at is None else [value.kind, args, value.at]
    return msgspec.msgpack.Ext(records.EXT_MEDIA, msgspec.msgpack.encode(listed))


def written(sample: messages.Message | records.Record) -> bytes:
    if isinstance(sample, records.Row):
        data = {key: as_ext(item) if isinstance(item, records.Media) else item for key, item in sample.data.items()}
        sample = msgspec.structs.replace(sample, data=data)
    return msgspec.msgpack.encode(sample)


def golden(major_minor: str) -> dict[str, str]:
    content: dict[str, str] = json.loads((GOLDEN / f"wire-{major_minor}.json").read_text())
    return content


@pytest.mark.parametrize("name", SAMPLES)
def test_what_this_version_writes_is_what_was_recorded(name: str) -> None:
    assert written(SAMPLES[name]).hex() == golden(f"{version.MAJOR}.{version.MINOR}")[name]


@pytest.mark.parametrize("path", sorted(GOLDEN.glob(f"wire-{version.MAJOR}.[0-9].json")), ids=lambda path: path.stem)
def test_every_recorded_version_of_this_major_is_still_understood(path: Path) -> None:
    for name, recorded in json.loads(path.read_text()).items():
        body = bytes.fromhex(recorded)
        sample = SAMPLES[name]
        if isinstance(sample, records.Record):
            decoded: object = records.decode(body)
        elif isinstance(sample, messages.Hello | messages.Ask | messages.Bye):
            decoded = frames.unpack_from_client([body])[0]
        elif isinstance(sample, messages.Batch):
            decoded = msgspec.msgpack.decode(body, type=messages.Batch)
        else:
            decoded = frames.unpack_from_daemon([body])
        expected = records.Row(0, 1, {"n": 2**65}) if name == "row_big_int" else sample
        assert decoded == expected


def test_a_version_that_is_not_told_is_1_0_whoever_reads_it() -> None:
    hello = frames.unpack_from_client([bytes.fromhex(golden("1.0")["hello"])])[0]
    assert isinstance(hello, messages.Hello)
    assert (hello.major, hello.minor) == (1, 0)
    told = msgspec.msgpack.decode(msgspec.msgpack.encode(messages.Hello("ab" * 16, version.MAJOR, version.MINOR)))
    assert told["minor"] == version.MINOR


def test_the_framing_of_a_record_is_as_recorded() -> None:
    assert framing.frame(b"body", 7).hex() == golden("1.0-framing")["record_7"]


def test_unknown_keys_are_ignored_and_unknown_kinds_are_told() -> None:
    future = msgspec.msgpack.encode({"t": "r", "s": 1, "n": 2, "d": {}, "future": 1})
    assert records.decode(future) == records.Row(1, 2, {})
    with pytest.raises(msgspec.MsgspecError):
        records.decode(msgspec.msgpack.encode({"t": "from the future"}))


def test_a_row_is_told_by_its_first_bytes_and_nothing_else_is() -> None:
    for name, sample in SAMPLES.items():
        assert records.is_row(written(sample)) is name.startswith("row")


@given(st.lists(st.binary(max_size=200), max_size=3))
def test_garbage_from_a_client_is_a_typed_error(garbage: list[bytes]) -> None:
    with pytest.raises(ProtocolError):
        frames.unpack_from_client(garbage)


@given(st.sampled_from(sorted(SAMPLES)), st.integers(0, 10_000), st.integers(0, 255))
def test_one_wrong_byte_is_a_message_or_a_typed_error(name: str, place: int, value: int) -> None:
    body = bytearray(written(SAMPLES[name]))
    body[place % len(body)] = value
    for unpack in (frames.unpack_from_client, frames.unpack_from_daemon):
        try:
            unpack([bytes(body)])
        except ProtocolError:
            pass
    try:
        records.decode(bytes(body))
    except (msgspec.MsgspecError, ValueError):
        pass


def test_deep_nesting_is_a_typed_error() -> None:
    with pytest.raises(MalformedError):
        frames.unpack_from_client([b"\x82\xa1m\xa3ask\xa4args" + b"\x81\xa1a" * 100_000 + b"\xc0"])


def test_a_hello_of_another_major_is_refused_with_what_to_do() -> None:
    hello = frames.pack(messages.Hello("ab" * 16, major=version.MAJOR + 1))
    with pytest.raises(VersionError, match="update the older side"):
        frames.unpack_from_client(hello)
    later_minor = frames.pack(messages.Hello("ab" * 16, minor=version.MINOR + 7))
    assert isinstance(frames.unpack_from_client(later_minor)[0], messages.Hello)


def test_sizes_are_held() -> None:
    with pytest.raises(OversizedError):
        frames.unpack_from_client([bytes(HEADER_MAX_BYTES + 1)])
    with pytest.raises(OversizedError):
        frames.unpack_from_client(frames.batch("ab" * 16, 1, 1, bytes(BATCH_MAX_BYTES + 1), 1))
    with pytest.raises(OversizedError):
        frames.pack(messages.Hello("ab" * 16, run=messages.RunSpec("r", config={"x": "y" * HEADER_MAX_BYTES})))
    with pytest.raises(OversizedError):
        list(framing.spans(framing.HEADER.pack(RECORD_MAX_BYTES + 1, 0)))


def test_a_batch_whose_payload_was_changed_on_the_way_is_refused() -> None:
    head, payload = frames.batch("ab" * 16, 1, 1, framing.frame(b"x", 1), 1)
    with pytest.raises(MalformedError, match="checksum"):
        frames.unpack_from_client([head, bytes(payload)[:-1] + b"y"])


def test_a_record_that_stands_at_another_number_fails_its_checksum() -> None:
    payload = framing.frame(b"a", 1) + framing.frame(b"b", 2)
    assert [bytes(body or b"") for _, body in framing.bodies(payload, 1)] == [b"a", b"b"]
    assert [body for _, body in framing.bodies(payload, 2)] == [None, None]


@pytest.mark.parametrize("payload", [b"\x01", framing.HEADER.pack(0, 0), framing.HEADER.pack(5, 0) + b"abc"])
def test_lengths_that_do_not_add_up_are_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedError):
        list(framing.spans(payload))
