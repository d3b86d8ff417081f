"""Spool folders as processes leave them, written by the journal's format without the client's writer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from client.journal import folder as spool
from client.journal import format as fmt
from client.protocol.messages import Hello
from client.protocol.records import AnyRecord
from tests.support.wire_client import encode_all


def segment(session: str, first: int, records: Sequence[AnyRecord]) -> bytes:
    """A segment's bytes."""
    body = encode_all(records, first)
    committed = (len(records) << 32) | (fmt.HEADER_BYTES + len(body))
    size = fmt.HEADER_BYTES + len(body) + 64
    return fmt.HEADER.pack(fmt.MAGIC, committed, bytes.fromhex(session), first, size) + body + bytes(64)


def leave_spool(spool_dir: Path, hello: Hello, *stretches: tuple[int, Sequence[AnyRecord]]) -> Path:
    """The folder of a dead session whose journal holds these (first number, records)."""
    folder = spool_dir / hello.session
    folder.mkdir(parents=True, mode=0o700)
    (folder / spool.LOCK_NAME).touch()
    for index, (first, records) in enumerate(stretches, 1):
        (folder / fmt.file_name(index)).write_bytes(segment(hello.session, first, records))
    (folder / spool.HELLO_NAME).write_bytes(msgspec.msgpack.encode(hello))
    return folder
