"""Reader of the .wandb file that wandb-core writes, also while it is being written.

    file   := ":W&B" 0xBEE1 (u16le) 0x00, then blocks of 32 KiB (the header belongs to the first)
    block  := chunk* zeros              a chunk never crosses a block; fewer than 7 bytes left are zeros
    chunk  := crc32(type + payload) u32le | length u16le | type u8 | payload
    type   := 1 the whole record, 2 its first part, 3 a middle one, 4 the last
    record := wandb.proto.wandb_internal_pb2.Record

A record counts when all of it is there and its checksums hold: what `wandb sync` would upload. A cut tail (the writer
was killed, or is about to write the rest) ends the reading and is tried again from there; damage inside skips the rest
of its block, as wandb's own reader does. Nothing here needs wandb, except `records`.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER = b":W&B\xe1\xbe\x00"
BLOCK_BYTES = 32 * 1024
_CHUNK = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_READ_BYTES = 1 << 20

# Field numbers of Record's kinds (wandb/proto/wandb_internal.proto).
HISTORY, SUMMARY, OUTPUT, CONFIG, STATS, TELEMETRY, METRIC, OUTPUT_RAW = 2, 3, 4, 5, 7, 11, 12, 13
RUN, EXIT, OUTPUT_LOGGER = 17, 18, 27
_NUM, _CONTROL, _UUID, _INFO = 1, 16, 19, 200
_NOT_KINDS = frozenset({_NUM, _CONTROL, _UUID, _INFO})
_NUM_TAG, _HISTORY_TAG, _SUMMARY_TAG = _NUM << 3, HISTORY << 3 | 2, SUMMARY << 3 | 2
_STEP_TAG = 2 << 3 | 2
_STEP_MAX_BYTES = 12
"""HistoryStep: a tag and a number of ten bytes at most."""
_OWN_MIN_BYTES = 12
"""A record number and a tag fit in here."""


class NotWandbFileError(Exception):
    """The file does not begin as a .wandb file does."""


class RecordReader:
    """Whole records of one file, in order. Call `read` again to get what has been written since.

    Raises NotWandbFileError from `read` when the file's header is another's, OSError when it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.skipped_blocks = 0
        self._position = 0
        """Where the first record begins that has not been given yet."""

    def read(self) -> Iterator[bytes]:
        """Yield the records that are whole and have not been given yet."""
        try:
            stream = self.path.open("rb", buffering=0)
        except FileNotFoundError:
            return
        with stream:
            size = os.fstat(stream.fileno()).st_size
            if self._position == 0:
                if size < len(HEADER):
                    return
                if stream.read(len(HEADER)) != HEADER:
                    raise NotWandbFileError(f"{self.path} does not begin like a .wandb file")
                self._position = len(HEADER)
            yield from self._records(stream.fileno(), size)

    def _records(self, fd: int, size: int) -> Iterator[bytes]:
        window, base = b"", self._position
        parts: list[bytes] = []
        at = self._position
        while True:
            left = BLOCK_BYTES - at % BLOCK_BYTES
            if left < _CHUNK.size:
                at += left
                continue
            if at + _CHUNK.size > size:
                return
            if at - base + left > len(window) and base + len(window) < size:
                base = at
                window = os.pread(fd, _READ_BYTES, base)
            offset = at - base
            if offset + _CHUNK.size > len(window):
                return
            crc, length, kind = _CHUNK.unpack_from(window, offset)
            end = offset + _CHUNK.size + length
            whole = _CHUNK.size + length <= left
            if whole and end > len(window):
                return  # the rest of the chunk is still to be written
            summed = window[offset + _CHUNK.size - 1 : end]  # the type and the payload
            if not whole or crc != zlib.crc32(summed):
                if at + left > size:
                    return  # the last block: it may be a write in progress
                at += left
                parts = []
                self._position = at
                self.skipped_blocks += 1
                continue
            at += _CHUNK.size + length
            payload = summed[1:]
            if kind == _FULL:
                parts = []
                self._position = at
                yield payload
            elif kind == _FIRST:
                parts = [payload]
            elif parts:
                parts.append(payload)
                if kind == _LAST:
                    self._position = at
                    yield b"".join(parts)
                    parts = []


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (number, value) of each top-level field of a protobuf message; raises IndexError where it is cut."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
        elif wire == 2:
            length, at = _varint(message, at)
            yield tag >> 3, message[at : at + length]
            at += length
        else:
            width = 8 if wire == 1 else 4
            yield tag >> 3, message[at : at + width]
            at += width


def kind_of(record: bytes) -> tuple[int, bool]:
    """The kind of a record and whether the SDK published it (core's own lack `_info`); 0 for an unknown one.

    Looks at a few bytes only, because every confirmation walks over three records a row: a history and two summaries
    of wandb-core's own, which are a number and then nothing but the kind.
    """
    at, end = 0, len(record)
    if end > _OWN_MIN_BYTES and record[0] == _NUM_TAG:
        at = 2
        while record[at - 1] > 0x7F:
            at += 1
        if record[at] == _HISTORY_TAG:
            return HISTORY, False
        if record[at] == _SUMMARY_TAG:
            length, begin = _varint(record, at + 1)
            if begin + length == end:
                return SUMMARY, False
        at = 0
    said, kind = False, 0
    while at < end:
        tag, at = _varint(record, at)
        number = tag >> 3
        if number == HISTORY:
            return HISTORY, said
        if number == _INFO:
            said = True
        elif number not in _NOT_KINDS:
            kind = number
            if said:
                break
        wire = tag & 7
        if wire == 0:
            _, at = _varint(record, at)
        elif wire == 2:
            length, at = _varint(record, at)
            at += length
        else:
            at += 8 if wire == 1 else 4
    return kind, said


def step_of(history: bytes) -> int | None:
    """The step of a history record (its field 2), None where it has none."""
    for number, value in fields(history):
        if number == 2 and isinstance(value, bytes):
            return next((step for field, step in fields(value) if field == 1 and isinstance(step, int)), 0)
    return None


class Tally:
    """How much of what was written can be read back; `update` looks at what is new only."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._reader = RecordReader(path)
        self.history = 0
        """History records: the run's rows."""
        self.said: dict[int, int] = {}
        """Records that the SDK published, by kind."""
        self.last_step: int | None = None
        self.exited = False
        """Whether wandb finished the run in this file."""

    def update(self, *, steps: bool = False) -> None:
        """Count what has become readable; `steps` also finds the last history step, which costs a little more."""
        for record in self._reader.read():
            kind, said = kind_of(record)
            if kind == HISTORY:
                self.history += 1
                if steps:
                    self.last_step = next(
                        step_of(v) for n, v in fields(record) if n == HISTORY and isinstance(v, bytes)
                    )
            elif kind == EXIT:
                self.exited = True
            if said:
                self.said[kind] = self.said.get(kind, 0) + 1


def message_of(record: bytes) -> bytes:
    """The message of a record of wandb-core's own: what follows its number."""
    if record[0] == _NUM_TAG:
        at = 2
        while record[at - 1] > 0x7F:
            at += 1
        length, begin = _varint(record, at + 1)
        if begin + length == len(record):
            return record[begin:]
    kind = kind_of(record)[0]
    return next(value for number, value in fields(record) if number == kind and isinstance(value, bytes))


def step_in(record: bytes) -> int:
    """The step of a history's record. It stands at the end, behind JSON texts, which have no control characters."""
    for size in range(2, _STEP_MAX_BYTES):
        if record[-size] == 0x08 and record[-size - 1] == size and record[-size - 2] == _STEP_TAG:
            step, end = _varint(record[-size + 1 :] + b"\0", 0)
            if end == size - 1:
                return step
    return step_of(message_of(record)) or 0


def steps_in(path: str | os.PathLike[str]) -> Iterator[int]:
    """The step of each row of a file, in order."""
    for record in RecordReader(path).read():
        if kind_of(record)[0] == HISTORY:
            yield step_in(record)


def history_steps(path: str | os.PathLike[str]) -> list[int]:
    """Steps of the history records of a file, in order."""
    return list(steps_in(path))


def parsed(record: bytes) -> Any:
    """A record as wandb's own protobuf message."""
    from wandb.proto import wandb_internal_pb2 as pb

    message = pb.Record()
    message.ParseFromString(record)
    return message


def summary(message: bytes) -> Any:
    """One or more summaries, one behind the other, as wandb's own protobuf message."""
    from wandb.proto import wandb_internal_pb2 as pb

    return pb.SummaryRecord.FromString(message)


def records(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Every readable record as wandb's own protobuf message."""
    for payload in RecordReader(path).read():
        yield parsed(payload)


def put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a nested value, as wandb does: what stands in the way is replaced."""
    for key in path[:-1]:
        inner = tree.get(key)
        if not isinstance(inner, dict):
            inner = tree[key] = {}
        tree = inner
    tree[path[-1]] = value


def history_rows(path: str | os.PathLike[str], first_step: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (step, values) of each row of a file from a step on, nested as logged, `_step`, `_runtime` and `_timestamp`
    included."""
    for payload in RecordReader(path).read():
        if kind_of(payload)[0] == HISTORY and (not first_step or step_in(payload) >= first_step):
            history = parsed(payload).history
            row: dict[str, Any] = {}
            for item in history.item:
                put(row, list(item.nested_key) or [item.key], json.loads(item.value_json))
            yield history.step.num, row
