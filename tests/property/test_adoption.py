"""Adoption of damaged spools: what is damaged never becomes a wrong row, and never stops the adoption of the others."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from client.journal import folder as spool
from client.journal import format as fmt
from client.protocol import framing
from client.protocol.messages import Hello, RunSpec
from client.protocol.records import AnyRecord, End, Row, encode
from telemetryd.health.counters import Counters
from telemetryd.inbox.adopt import Adopter
from telemetryd.inbox.database import prepare
from telemetryd.inbox.reader import InboxReader
from telemetryd.inbox.store import Inbox
from tests.support.spools import leave_spool

SESSIONS = [f"{number:032x}" for number in range(1, 5)]
ROWS_A_SEGMENT = 6
SEGMENTS = 3
LATER_S = 60.0
"""Past any pause that adoption makes for a gap in a journal."""


@dataclass(frozen=True)
class Damage:
    """One thing done to a session's folder. `where` picks the file, `at` the place in it, both as fractions."""

    kind: str
    where: float
    at: float
    value: int

    def do(self, folder: Path) -> None:
        """Damages the folder; nothing where it holds nothing of the kind any more."""
        files = sorted(path for path in folder.iterdir() if path.suffix == fmt.SUFFIX and path.is_file())
        if self.kind == "hello":
            files = [folder / spool.HELLO_NAME]
        if files and files[0].exists():
            KINDS[self.kind](self, files[int(self.where * (len(files) - 1))], files)

    def flip(self, path: Path, files: list[Path]) -> None:
        content = bytearray(path.read_bytes())
        if content:
            content[int(self.at * (len(content) - 1))] ^= 1 + self.value % 255
        path.write_bytes(content)

    def cut(self, path: Path, files: list[Path]) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: int(self.at * len(content))])

    def overwrite(self, path: Path, files: list[Path]) -> None:
        content = path.read_bytes()
        offset = int(self.at * len(content))
        path.write_bytes(content[:offset] + bytes([self.value % 256]) * (len(content) - offset))

    def remove(self, path: Path, files: list[Path]) -> None:
        path.unlink()

    def repeat(self, path: Path, files: list[Path]) -> None:
        copy = path.with_name(fmt.file_name(90 + self.value % 9))
        if copy != path:  # a copy that is repeated may come to its own place
            shutil.copy(path, copy)

    def exchange(self, path: Path, files: list[Path]) -> None:
        other = files[self.value % len(files)]
        first, second = path.read_bytes(), other.read_bytes()
        path.write_bytes(second)
        other.write_bytes(first)

    def make_a_folder(self, path: Path, files: list[Path]) -> None:
        path.unlink()
        path.mkdir()

    def of_another_session(self, path: Path, files: list[Path]) -> None:
        """A segment of a session that is not this one, as a backup put back in the wrong place."""
        foreign = leave_spool(path.parent.parent / "elsewhere", Hello("f" * 32), (4, _rows(99, 4, 9)))
        shutil.move(foreign / fmt.file_name(1), path)
        shutil.rmtree(foreign.parent)


KINDS: dict[str, Callable[[Damage, Path, list[Path]], None]] = {
    "flip": Damage.flip,
    "cut": Damage.cut,
    "overwrite": Damage.overwrite,
    "remove": Damage.remove,
    "repeat": Damage.repeat,
    "exchange": Damage.exchange,
    "folder": Damage.make_a_folder,
    "foreign": Damage.of_another_session,
    "hello": Damage.cut,
}

DAMAGES = st.lists(
    st.builds(Damage, st.sampled_from(sorted(KINDS)), st.floats(0, 1), st.floats(0, 1), st.integers(0, 1000)),
    max_size=4,
)


def _rows(session: int, first: int, last: int) -> list[AnyRecord]:
    return [
        Row(time_ns=number, step=number - 1, data={"session": session, "number": number})
        for number in range(first, last + 1)
    ]


def _truth(session: int) -> dict[int, bytes]:
    """A session's records by number."""
    last = ROWS_A_SEGMENT * SEGMENTS
    records: list[AnyRecord] = [*_rows(session, 1, last), End(0, 0, False)]
    return {number: encode(record) for number, record in enumerate(records, 1)}


def _leave(spool_dir: Path, session: int) -> Path:
    rows = _rows(session, 1, ROWS_A_SEGMENT * SEGMENTS)
    stretches: list[tuple[int, list[AnyRecord]]] = [
        (1 + start, rows[start : start + ROWS_A_SEGMENT]) for start in range(0, len(rows), ROWS_A_SEGMENT)
    ]
    stretches[-1][1].append(End(0, 0, False))
    hello = Hello(SESSIONS[session], run=RunSpec(run_id=f"run{session}", mode="offline"))
    return leave_spool(spool_dir, hello, *stretches)


def _stored(path: Path) -> dict[str, dict[int, bytes]]:
    """Every intact record in the inbox: session → number → body. Fails on one that is there twice."""
    found: dict[str, dict[int, bytes]] = {}
    with InboxReader(path) as reader:
        for run_id in range(1, len(SESSIONS) + 1):
            for batch in reader.batches(run_id, 0, 1 << 60, 1 << 30) if reader.newest(run_id) else []:
                for number, body in framing.bodies(batch.body, batch.first):
                    assert body is not None, "a record that does not match its checksum was taken over"
                    assert number not in found.setdefault(batch.session, {})
                    found[batch.session][number] = bytes(body)
    return found


FIRST_AT = [Damage("flip", 0.0, (byte + 0.5) / 297, value) for byte in range(32, 40) for value in (0, 127)]
"""Turned bits in the number of a segment's first record, which no checksum covers directly."""


@settings(max_examples=60, deadline=None)
@example(damages=[[], [Damage("repeat", 0.0, 0.0, 0), Damage("repeat", 0.0, 0.0, 1), Damage("repeat", 0.75, 0.0, 0)]])
@given(st.lists(DAMAGES, min_size=2, max_size=len(SESSIONS)))
@example(damages=[[damage] for damage in FIRST_AT[::4]])
@example(damages=[[damage] for damage in FIRST_AT[1::4]])
@example(damages=[[damage] for damage in FIRST_AT[2::4]])
@example(damages=[[damage] for damage in FIRST_AT[3::4]])
def test_a_damaged_spool_yields_no_wrong_row_and_stops_no_other(damages: list[list[Damage]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inbox_path, spool_dir = folder / "inbox.sqlite3", folder / "spool"
        prepare(inbox_path)
        inbox = Inbox(inbox_path)
        for session, done in enumerate(damages):
            left = _leave(spool_dir, session)
            for damage in done:
                damage.do(left)
        adopter = Adopter(inbox, spool_dir, 1 << 30, Counters(), frozenset, threading.Event())
        try:
            for now_s in (0.0, LATER_S, 2 * LATER_S):
                adopter.scan(now_s)
        finally:
            inbox.close()
        stored = _stored(inbox_path)
        for session, done in enumerate(damages):
            found = stored.get(SESSIONS[session], {})
            truth = _truth(session)
            assert {number for number, body in found.items() if truth.get(number) != body} == set()
            if not done:
                assert found == truth
                assert not (spool_dir / SESSIONS[session]).exists()
