"""Makes wandb's objects of media values, and of those what a history row stores.

Invariants
* Nothing is constructed but by the allow-list (kinds.py), from arguments that are plain values, arrays and bytes.
* What fails costs the value itself, counted in `lost`; the row's other values stay. Only a broken wandb-core is raised.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from client.protocol.records import BlobRef, Media
from telemetryd.runs import wandb_private, wandb_tables
from telemetryd.runs.media.door import is_wandb_error, is_wandb_table
from telemetryd.runs.media.errors import (
    BYTES_MISSING,
    ENCODER_MISSING,
    MOLECULES_MISSING,
    REFUSED,
    UNKNOWN_KIND,
    MediaLostError,
)
from telemetryd.runs.media.table_log import TableLog
from telemetryd.runs.wire_values import is_plain, revive

log = logging.getLogger(__name__)

INSTALL = "pip install 'telemetryd[media]'"
INSTALL_MOLECULES = "pip install 'telemetryd[molecules]'"
_LOST = object()
CHARTS = frozenset({"CustomChart", "Visualize", "pr_curve", "roc_curve"})
"""Kinds that are a table and its drawing."""

_BROKEN = (ConnectionError, BrokenPipeError, EOFError)

Build = Callable[[dict[str, Any], "MediaBuilder"], Any]


class Blobs(Protocol):
    """Where the bytes of media values are: BlobStore, or an artifact's content."""

    def get(self, ref: BlobRef) -> bytes | bytearray | None:
        """The bytes that are named; None when not all of them came."""


class MediaBuilder:
    """Constructs the media values of one run."""

    def __init__(self, blobs: Blobs, kinds: dict[str, Build], tables: TableLog | None = None) -> None:
        """Without `tables` no rows are written, only objects constructed, as for an artifact."""
        self._blobs = blobs
        self._kinds = kinds
        self._tables = tables
        self._folder: Path | None = None
        self._told: set[tuple[str, str]] = set()
        self.lost: dict[str, int] = {}
        """Media values lost in this process, by reason."""

    # For builders.

    def build(self, value: Any) -> Any:
        """A value with every media value in it constructed. Raises MediaLostError."""
        if isinstance(value, Media):
            kind = self._kinds.get(value.kind)
            if kind is None:
                raise MediaLostError(UNKNOWN_KIND, f"a media value of kind {value.kind!r}, which this daemon lacks")
            return kind(value.args, self)
        if isinstance(value, BlobRef):
            content = self._blobs.get(value) if value.id else None
            if content is None:
                raise MediaLostError(BYTES_MISSING, f"the {value.size} bytes of a media value did not come")
            return content
        if isinstance(value, dict):
            return {key: self.build(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.build(item) for item in value]
        return revive(value)

    def arguments(self, args: dict[str, Any]) -> dict[str, Any]:
        """Arguments with everything in them constructed."""
        return {name: self.build(argument) for name, argument in args.items()}

    def logged_table(self, args: dict[str, Any]) -> Any:
        """wandb's object of a table that was logged before, where it is still there."""
        return self._tables.logged_object(args) if self._tables is not None else None

    def file(self, name: str, content: bytes) -> Path:
        """A temporary file of this name; it is there until the row is written."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="media-"))
        path = Path(tempfile.mkdtemp(dir=self._folder)) / (Path(name).name or "file")
        path.write_bytes(content)
        return path

    # For the sink.

    def row(self, run: Any, data: dict[str, Any], step: int, time_ns: int) -> dict[str, Any]:
        """What wandb stores of a row's values, their files written to the run's folder. Lost ones are left out."""
        try:
            with wandb_tables.increments_named_at(time_ns):
                charts: dict[str, Media] = {}
                stored = self._dict(run, data, step, (), charts)
                for key, chart in charts.items():
                    self._chart(run, key, chart, step, stored)
                return stored
        finally:
            self._clean()

    def value(self, value: Any) -> Any:
        """wandb's object for a value of the summary, or None in its place when it is lost."""
        made = self._made(value, "summary")
        return None if made is _LOST else made

    def _dict(
        self, run: Any, data: dict[str, Any], step: int, above: tuple[str, ...], charts: dict[str, Media]
    ) -> dict[str, Any]:
        """What is stored of a dict; charts in it are left out, and put into `charts` by their whole key."""
        stored = {}
        for key, value in data.items():
            if isinstance(value, dict):
                stored[key] = self._dict(run, value, step, (*above, key), charts)
            elif isinstance(value, Media) and value.kind in CHARTS:
                charts[".".join((*above, key))] = value
            elif (item := self._leaf(run, key, value, step)) is not _LOST:
                stored[key] = item
        return stored

    def _chart(self, run: Any, key: str, value: Media, step: int, stored: dict[str, Any]) -> None:
        """As wandb does: how it is drawn goes into the config, its table under a key of its own to the row's end."""
        chart = self._made(value, key)
        if chart is _LOST:
            return
        chart.set_key(key)
        if self._guarded(key, lambda: wandb_private.publish_chart(run, chart.spec)) is _LOST:
            return
        table_key = getattr(chart.spec, "table_key", key)
        stored.pop(table_key, None)
        if (item := self._leaf(run, table_key, chart.table, step)) is not _LOST:
            stored[table_key] = item

    def _table(self, run: Any, key: str, value: Media, step: int) -> Any:
        """A table, unless it is one that has not changed since it was logged."""
        args, tables = value.args, self._tables
        assert tables is not None, "only who writes rows comes here"
        answer = tables.answer(args, step)
        if answer is not None:
            return answer
        made = self.build(value)
        if args.get("increment") is not None:
            wandb_tables.set_increment(made, *tables.before(args, key), args["sent"])
        json = wandb_private.media_json(run, key, made, _named_by(value, step))
        tables.add(args, key, step, json)
        tables.keep(args, made)
        return json

    def _leaf(self, run: Any, key: str, value: Any, step: int) -> Any:
        if is_wandb_table(value):  # of a chart that wandb has computed
            return self._guarded(key, lambda: wandb_private.media_json(run, key, value, step))
        if not contains_media(value):
            return revive(value)
        if isinstance(value, Media) and value.kind == "Table":
            return self._guarded(key, lambda: self._table(run, key, value, step))
        if isinstance(value, list):
            made = [item for item in (self._made(item, key) for item in value) if item is not _LOST]
            if not made:
                return _LOST
        else:
            made = self._made(value, key)
            if made is _LOST:
                return _LOST
        return self._guarded(key, lambda: wandb_private.media_json(run, key, made, _named_by(value, step)))

    def _made(self, value: Any, key: str) -> Any:
        return self._guarded(key, lambda: self.build(value))

    def _guarded(self, key: str, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except MediaLostError as error:
            return self.lose(error.reason, key, str(error))
        except _BROKEN:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an encoder raises, the row's other values are kept
            # wandb says "… requires the soundfile package. To get it, run "pip install soundfile"", among others
            lazy = isinstance(error, AttributeError) and "LazyModule" in str(error)  # its second import fails like this
            missing = lazy or isinstance(error, ImportError) or (is_wandb_error(error) and "install" in str(error))
            if missing:
                if "rdkit" in str(error):
                    return self.lose(MOLECULES_MISSING, key, f"{error}; {INSTALL_MOLECULES} beside the daemon")
                return self.lose(ENCODER_MISSING, key, f"{error}; {INSTALL} beside the daemon")
            return self.lose(REFUSED, key, f"{type(error).__name__}: {error}")

    def lose(self, reason: str, key: str, text: str) -> object:
        """Count a value as lost, and say why in the log."""
        self.lost[reason] = self.lost.get(reason, 0) + 1
        if (reason, key) not in self._told and len(
            self._told
        ) < 1000:  # the same is said once; the counter has the rest
            self._told.add((reason, key))
            log.error("media_lost key=%r reason=%s message=%r", key, reason, text)
        return _LOST

    def finished(self) -> None:
        """The run is finished: nothing of its tables is needed any more."""
        if self._tables is not None:
            self._tables.clear()

    def _clean(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _named_by(value: Any, step: int) -> int:
    """The step in the names of a value's files."""
    media = value[0] if isinstance(value, list) else value
    return media.at if isinstance(media, Media) and media.at is not None else step


def is_rich(data: dict[str, Any]) -> bool:
    """Whether a row has media values in it; quick to say no."""
    return not is_plain(data) and any(contains_media(value) for value in data.values())


def contains_media(value: Any) -> bool:
    """Whether there is a media value in it."""
    if isinstance(value, Media):
        return True
    if isinstance(value, dict):
        return any(contains_media(item) for item in value.values())
    return isinstance(value, list) and any(contains_media(item) for item in value)


def blob_refs(value: Any) -> list[BlobRef]:
    """The blobs that a value names."""
    if isinstance(value, BlobRef):
        return [value] if value.id else []
    if isinstance(value, Media):
        value = value.args
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [ref for item in items for ref in blob_refs(item)]
