"""Every use of wandb's private interfaces, in one place, each with what is done where wandb has changed.

    what                           why                                             where it is missing
    batched PartialHistory         three times the rows a second of `run.log`      `run.log`
    publish_output_raw             output.log, stderr marked, original times       `run.write_logs`
    counting published records     to know that config and summary are in the file confirmed with the rows around
    Table's types, increments      tables, their columns' types as logged          tables are lost, and counted
    Run._config_callback           how charts are drawn                            charts are lost, and counted
    val_to_json                    media in rows that are batched                  media are lost, and counted
    _make_stats                    the machine's samples, at their own time        wandb's own sampler scrapes ours
    nested summary, config.remove  one record instead of a round trip a level      item access; removal is skipped
    Artifact._client_id            an artifact is found again in the .wandb file     a replay may record it twice
    the clock of `wandb.init`      the run's start time is the training's          the worker's start
    environment records            the process's metadata, also what came late     what settings can say
    files records                  the process's files count as wandb's own        `run.save`
    Run._set_config_wandb          the saved code is found by W&B's Code tab       it is among the files only
    Run._publish_file              media files of a killed worker                  they stay where they are
    Run._redirect                  output is uploaded, the worker's own is not     output stays in the .wandb file
    InternalArtifact               `log_code`: a type that is kept from users      the type "source-code"

`tests/contract/test_wandb_private.py` fails loudly when wandb changes one of these, so that a silent fallback is never
what is released. Wire form of a batched row: wandb's socket frame `"W" | length u32le | ServerRequest`, holding
Record{request: PartialHistoryRequest{item.., step, action.flush}, _info.stream_id}, which is what `run.log` sends.
"""

from __future__ import annotations

import contextlib
import logging
import struct
import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

log = logging.getLogger(__name__)

_SOCKET_HEADER = struct.Struct("<BI")
_MAGIC = ord("W")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


_SHORT = [_varint(n) for n in range(1 << 14)]
_VALUE_JSON_TAG = _varint(16 << 3 | 2)
_ITEM_TAG = _varint(1 << 3 | 2)
_STEP_TAG = _varint(2 << 3 | 2)
_FLUSH = b"\x1a\x02\x08\x01"
"""PartialHistoryRequest.action.flush"""
_PARTIAL_HISTORY_TAG = _varint(10 << 3 | 2)
_REQUEST_TAG = _varint(100 << 3 | 2)
_NUMBERS = frozenset({float, int})
_numbers_json = msgspec.json.Encoder().encode
_KEYS_KEPT = 10_000
_TEXT_KEPT_BYTES = 32
"""Longer than any number that is encoded here: item heads are kept for texts below it."""


def _delimited(tag: bytes, payload: bytes) -> bytes:
    size = len(payload)
    return tag + (_SHORT[size] if size < 16384 else _varint(size)) + payload


def _numbers(data: dict[str, Any]) -> list[bytes] | None:
    """The JSON of each value where all are finite numbers, encoded in one go; None for any other row."""
    values = data.values()
    if not _NUMBERS.issuperset(map(type, values)):
        return None
    try:
        texts = _numbers_json([*values])
    except OverflowError:  # an integer beyond 64 bits
        return None
    if b"u" in texts:  # null: NaN or infinite
        return None
    return texts[1:-1].split(b",")


class HistoryBatch:
    """Rows on their way to wandb-core, many in one socket write. Lays protobuf out by hand, to spare objects."""

    def __init__(self, run: Any) -> None:
        """Raises AttributeError or ImportError where wandb is not as expected."""
        from wandb.util import json_dumps_safer_history

        interface = run._interface
        self._writer = interface._client._writer
        self._drain = interface._client._drain_writer
        self._client = interface._client
        self._run_async = interface._asyncer.run
        self._dumps = json_dumps_safer_history
        self._info = _field(200, _field(1, interface._stream_id.encode()))
        self._heads: dict[str, list[bytes]] = {}
        """By key: what stands before a value of so many bytes."""
        self._frames: list[bytes] = []

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, step: int, timestamp_s: float, data: dict[str, Any]) -> None:
        """Buffer one row. Raises ValueError or TypeError, and buffers nothing, when a value cannot be encoded."""
        parts: list[bytes] = []
        texts = _numbers(data) if data else []
        if texts is None:
            dumps = self._dumps
            texts = [dumps(value).encode() for value in data.values()]
        kept = self._heads
        for key, text in zip(data, texts, strict=True):
            if key == "_step":
                continue
            size = len(text)
            heads = kept.get(key)
            if heads is None:
                heads = self._heads_of(key)
            parts.append(heads[size] if size < _TEXT_KEPT_BYTES else self._head(key, size))
            parts.append(text)
        if "_timestamp" not in data:
            text = float.__repr__(timestamp_s).encode()
            heads = kept.get("_timestamp") or self._heads_of("_timestamp")
            parts.append(heads[len(text)])
            parts.append(text)
        parts.append(_delimited(_STEP_TAG, b"\x08" + _varint(step)))
        parts.append(_FLUSH)
        request = _delimited(_REQUEST_TAG, _delimited(_PARTIAL_HISTORY_TAG, b"".join(parts)))
        server_request = _delimited(_ITEM_TAG, request + self._info)
        self._frames.append(_SOCKET_HEADER.pack(_MAGIC, len(server_request)) + server_request)

    def _heads_of(self, key: str) -> list[bytes]:
        heads = [self._head(key, size) for size in range(_TEXT_KEPT_BYTES)]
        if len(self._heads) < _KEYS_KEPT:
            self._heads[key] = heads
        return heads

    @staticmethod
    def _head(key: str, size: int) -> bytes:
        """A HistoryItem up to its value, which has `size` bytes: tag, length, the key, the value's tag and length."""
        head = _field(1, key.encode()) + _VALUE_JSON_TAG + _varint(size)
        return _ITEM_TAG + _varint(len(head) + size) + head

    def send(self) -> None:
        """Write what is buffered and wait until the socket has taken it. Raises the socket's error (OSError)."""
        if not self._frames:
            return
        blob = b"".join(self._frames)
        self._frames.clear()

        async def write() -> None:
            if self._client._broken_exc is not None:
                raise self._client._broken_exc
            self._writer.write(blob)
            await self._drain()

        self._run_async(write)


class Published:
    """Counts the records that the SDK publishes, by field number: each is found again in the .wandb file."""

    def __init__(self, run: Any) -> None:
        """Raises AttributeError where wandb is not as expected."""
        self.counts: dict[int, int] = {}
        interface = run._interface
        publish = interface._publish
        descriptor = None

        def counting(record: Any, *, nowait: bool = False) -> None:
            nonlocal descriptor
            kind = record.WhichOneof("record_type")
            if kind not in ("request", "stats"):  # samples may be lost; nobody waits for them
                if descriptor is None:
                    descriptor = record.DESCRIPTOR.fields_by_name
                number = descriptor[kind].number
                self.counts[number] = self.counts.get(number, 0) + 1
            publish(record, nowait=nowait)

        interface._publish = counting


def artifact_record_number() -> int:
    """The field number of an artifact among the records of a .wandb file."""
    from wandb.proto import wandb_internal_pb2 as pb

    return int(pb.Record.DESCRIPTOR.fields_by_name["artifact"].number)


def publish_output(run: Any, stream: str, text: str, time_ns: int) -> None:
    """Console output as wandb's own capture would publish it. Raises AttributeError where wandb has changed."""
    from wandb.proto import wandb_internal_pb2 as pb

    kinds = pb.OutputRawRecord.OutputType
    record = pb.OutputRawRecord(output_type=kinds.STDERR if stream == "stderr" else kinds.STDOUT, line=text)
    record.timestamp.FromNanoseconds(time_ns)
    run._interface._publish_output_raw(record, nowait=False)


def publish_summary(run: Any, update: list[tuple[list[str], Any]], remove: list[list[str]]) -> None:
    """Set and remove nested summary values in one record. Raises AttributeError or ImportError as above."""
    from wandb.sdk.interface.summary_record import SummaryItem, SummaryRecord

    record = SummaryRecord()
    for path, value in update:
        item = SummaryItem()
        item.key, item.value = tuple(path), value
        record.update.append(item)
    for path in remove:
        item = SummaryItem()
        item.key = tuple(path)
        record.remove.append(item)
    run.summary._update(record)


def remove_config(run: Any, keys: list[str]) -> None:
    """Remove top-level config keys. Raises AttributeError or ImportError as above."""
    from wandb.proto import wandb_internal_pb2 as pb

    record = pb.ConfigRecord()
    for key in keys:
        run.config._items.pop(key, None)
        record.remove.add().key = key
    run._interface._publish_config(record)


def media_json(run: Any, key: str, value: Any, step: int) -> Any:
    """What a history row stores of a media object or a list of them, whose files it puts into the run's folder. Raises
    ImportError as above, and whatever wandb raises for the value."""
    from wandb.sdk.data_types.utils import val_to_json

    return val_to_json(run, key, value, namespace=step, ignore_copy_err=True)


def publish_chart(run: Any, spec: Any) -> None:
    """Put how a chart is drawn into the run's config. Raises AttributeError as above."""
    publish_nested_config(run, spec.config_key, spec.config_value)


def publish_nested_config(run: Any, path: tuple[str, ...], value: Any) -> None:
    """Set a config value at a path. Raises AttributeError as above."""
    run._config_callback(key=path, val=value)


def publish_metric(run: Any, metric: Any) -> None:
    """Define a metric by a MetricRecord of an earlier file. Raises AttributeError as above."""
    run._interface._publish_metric(metric)


def publish_stats(run: Any, time_ns: int, values: Mapping[str, float]) -> None:
    """Values into the System panel, at their own time. Raises AttributeError where wandb has changed."""
    interface = run._interface
    stats = interface._make_stats(dict(values))
    stats.timestamp.FromNanoseconds(time_ns)
    interface._publish(interface._make_record(stats=stats))


def stats_can_be_published() -> bool:
    """Whether `publish_stats` will find what it needs."""
    try:
        from wandb.sdk.interface.interface_shared import InterfaceShared
    except ImportError:
        return False
    return all(hasattr(InterfaceShared, name) for name in ("_make_stats", "_make_record", "_publish"))


def publish_environment(run: Any, fields: dict[str, Any]) -> None:
    """Set fields of the run's metadata; the others stay. Raises AttributeError, ImportError or ValueError as above."""
    from google.protobuf.json_format import ParseDict
    from wandb.proto import wandb_internal_pb2 as pb

    record = pb.Record()
    ParseDict(fields, record.environment)
    run._interface._publish(record)


def publish_file(run: Any, name: str) -> None:
    """Have a file of the run's folder uploaded. Raises AttributeError as above."""
    run._publish_file(name)


def publish_files(run: Any, names: list[str]) -> None:
    """Upload files of the run's folder as wandb's own. Raises AttributeError or ImportError as above."""
    from wandb.proto import wandb_internal_pb2 as pb

    record = pb.FilesRecord()
    for name in names:
        record.files.add(path=name, policy=pb.FilesItem.NOW, type=pb.FilesItem.WANDB)
    run._interface._publish_files(record)


def set_code_path(run: Any, name: str) -> None:
    """Tell W&B which of the run's files is its program. Raises AttributeError as above."""
    run._set_config_wandb("code_path", name)


class _Clock:
    """The `time` module for `wandb.init`, with one moment for what it calls the run's start."""

    def __init__(self, start_s: float) -> None:
        self._start_s = start_s

    def time(self) -> float:
        return self._start_s

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


@contextlib.contextmanager
def started_at(start_s: float) -> Iterator[None]:
    """While `wandb.init` runs inside, the run's start is this Unix time: in its metadata and its folder's name.

    `_runtime` still counts from `wandb.init`: wandb-core has a timer of its own that nothing sets. Where wandb has
    changed, that is logged and the worker's own start stands.
    """
    from wandb.sdk import wandb_init

    module: Any = wandb_init
    if getattr(module, "time", None) is not time:
        log.warning("wandb_private_changed reason=%r effect=%r", "wandb.init's clock", "the run starts with its worker")
        yield
        return
    module.time = _Clock(start_s)
    try:
        yield
    finally:
        module.time = time


@contextlib.contextmanager
def nothing_captured() -> Iterator[str]:
    """While `wandb.init` runs inside, with the console setting that is given, what this process prints is left alone.

    With "off" wandb-core does not upload output that is published to it; with "wrap" it does, and the SDK captures this
    process's own output besides, which is kept from it here. Where wandb has changed the setting is "off": output is
    then in the .wandb file only.
    """
    from wandb.sdk.wandb_run import Run

    run: Any = Run
    redirect = getattr(run, "_redirect", None)
    if redirect is None:
        log.warning("wandb_private_changed reason=%r effect=%r", "Run._redirect", "output is not uploaded")
        yield "off"
        return
    run._redirect = lambda self, *arguments, **named: None
    try:
        yield "wrap"
    finally:
        run._redirect = redirect


def code_artifact(name: str, kind: str, description: str | None, metadata: Any, incremental: bool) -> Any:
    """The artifact of `log_code`, whose type wandb keeps from users; where wandb has changed, of a type of our own."""
    try:
        from wandb.sdk.artifacts._internal_artifact import InternalArtifact
    except ImportError as error:
        import wandb

        log.warning("wandb_private_changed reason=%r effect=%r", str(error), "code is of the type source-code")
        return wandb.Artifact(name, "source-code", description, metadata, incremental)
    return InternalArtifact(name, kind, description, metadata, incremental)
