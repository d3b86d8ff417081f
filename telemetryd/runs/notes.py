"""What a worker must remember across its own death and cannot keep in the inbox, because it only reads that.

`<state>/workers/<run>.json`, replaced as a whole (written beside, synced, renamed). A note counts for the run only when
`created_ns` is the run's: an inbox that was moved aside numbers its runs from 1 again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from telemetryd.runs.rows import Late


class Folder(msgspec.Struct):
    """One folder that wandb made for this run, the .wandb file in it, and the first step that W&B lacked then. `base`:
    the rows that W&B had then. `tables_kept`: the
    tables of a file made offline have been written down for an online worker. `put_back`: what answers without sense
    may have lost of it has been put back."""

    path: str
    file: str
    mode: str
    starting_step: int
    base: int = 0
    tables_kept: bool = False
    put_back: bool = False


class Rewind(msgspec.Struct):
    """The newest time that a training went back to `step` (rewinds.py), asked by `sessions`, the first of which began
    at `start_ns`. `cursor` is the last batch before it and `snapshot` the state there. `tries`: how often wandb was
    asked. `told`: the daemon was told why it is refused."""

    step: int
    start_ns: int
    cursor: int = 0
    snapshot: bytes = b""
    state: Literal["asked", "done", "refused"] = "asked"
    reason: str = ""
    sessions: list[str] = []
    ranks: list[int] = []
    world: int = 0
    restart: int = 0
    tries: int = 0
    told: bool = False


class Notes(msgspec.Struct):
    """The notes of one run.

    `late` is the policy the run began with: a replay under another one would give other steps. `ends` are batches
    after which the run was ended, with its open and held rows written there. `begun` is set before the run is first
    begun online: from then on it is resumed. `vain` counts workers in a row that brought W&B no row further. `ranks` is
    the daemon's policy for ranks that the run began with, and `flushes` are batches after which rows that waited for
    other ranks were written because a clock said so.
    The rows of the first `archived` folders have left the history: the run was rewound after them, to or before the
    last of them.
    """

    created_ns: int
    late: Late = "keep"
    folders: list[Folder] = []
    ends: list[int] = []
    begun: bool = False
    vain: int = 0
    ranks: str = "main"
    flushes: list[int] = []
    rewind: Rewind | None = None
    archived: int = 0

    @property
    def history(self) -> list[Folder]:
        """The folders whose rows are the run's history."""
        return self.folders[self.archived :]


class Notebook:
    """The notes of one run on disk."""

    def __init__(self, path: Path, created_ns: int, late: Late, ranks: str = "main") -> None:
        self._path = path
        self.notes = Notes(created_ns, late, ranks=ranks)
        try:
            stored = msgspec.json.decode(path.read_bytes(), type=Notes)
        except (FileNotFoundError, msgspec.MsgspecError):
            return
        if stored.created_ns == created_ns:
            self.notes = stored

    def save(self) -> None:
        """Keep the notes as they are now, in a folder made anew where somebody has removed it. Raises OSError."""
        for folder in (self._path.parent.parent, self._path.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        beside = self._path.with_suffix(".new")
        with beside.open("wb") as stream:
            stream.write(msgspec.json.encode(self.notes))
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(self._path)

    def add_folder(self, folder: Folder) -> None:
        """Note a folder before the first row goes into it."""
        self.notes.folders.append(folder)
        self.save()

    def archive(self, rewind: Rewind) -> None:
        """The run was rewound: none of the folders so far has rows of its history. Saved with the next folder."""
        rewind.state = "done"
        self.notes.archived = len(self.notes.folders)
        for folder in self.notes.folders:
            folder.put_back = True

    def add_end(self, batch: int) -> None:
        """Note that the run ends after `batch` before its last rows are written."""
        if batch not in self.notes.ends:
            self.notes.ends.append(batch)
            self.save()

    def add_flush(self, batch: int, cursor: int) -> None:
        """Note that rows were written after `batch` without some ranks, before they are; older notes go at `cursor`."""
        if batch not in self.notes.flushes:
            self.notes.flushes = [*(noted for noted in self.notes.flushes if noted > cursor), batch]
            self.save()
