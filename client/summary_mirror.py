"""What `run.summary` shows: a local mirror of the summary that W&B keeps, made when somebody reads it.

The rules are wandb's, as observed on 0.31:
* a closed row sets each of its leaves; nested dicts merge; a None removes its leaf; an empty dict changes nothing;
* a key set by hand is the hand's until the next row that brings it, which replaces it, and ends its define_metric rule;
* `define_metric(summary=...)` makes a dict of the aggregates asked for; "none" removes the key.
Aggregates count from the `define_metric` call on (W&B counts earlier rows too).

Not thread-safe: `History` calls it under its lock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from client.protocol.records import Array, Media, Row, decode, decode_ext
from client.tensors import histogram


class Slot:
    """The newest row of one set of top-level keys: all that the summary needs of them, with two exceptions.

    `ruled`: a define_metric rule looks at each row. `nested`: some values are dicts, whose own keys may differ from row
    to row, so that each row counts. `extra`: one of the two. `rich`: the newest row had a media value, so that the next
    one is not tried as a plain one first.
    """

    __slots__ = ("body", "extra", "nested", "previous", "rich", "ruled", "step")

    def __init__(self, ruled: bool = False, nested: bool = False) -> None:
        self.body: bytes | None = None
        self.previous: bytes | None = None
        """The row before, which may be closed while the newest is open."""
        self.step = -1
        """The newest row's, where that may be open."""
        self.ruled = ruled
        self.nested = nested
        self.extra = ruled or nested
        self.rich = False

    def take(self) -> list[bytes]:
        """The bodies held, oldest first; the slot is empty afterwards."""
        bodies = [body for body in (self.previous, self.body) if body is not None]
        self.body = self.previous = None
        return bodies


BACKLOG_ROWS = 64
"""Rows with nested values decoded at a time: the cost of one is the same, and a reader waits for no more than these."""

AGGREGATES = ("min", "max", "mean", "last", "first")

_decode_data = msgspec.msgpack.Decoder(dict[str, Any], ext_hook=decode_ext).decode
_LARGEST_EXACT_INT = 1 << 63


class _Aggregate:
    """The aggregates of one leaf."""

    __slots__ = ("count", "first", "last", "maximum", "minimum", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.minimum: float = 0
        self.maximum: float = 0
        self.first: Any = None
        self.last: Any = None

    def add(self, value: Any) -> None:
        if self.first is None:
            self.first = value
        self.last = value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if not self.count:
                self.minimum = self.maximum = value
            elif value != value or self.minimum != self.minimum:  # a NaN stays
                self.minimum = self.maximum = math.nan
            else:
                self.minimum, self.maximum = min(self.minimum, value), max(self.maximum, value)
            self.count += 1
            self.total += value

    def shown(self, names: frozenset[str]) -> dict[str, Any]:
        mean = self.total / self.count if self.count else math.nan
        values = {
            "min": self.minimum,
            "max": self.maximum,
            "mean": mean,
            "last": self.last,
            "first": self.first,
        }
        return {name: values[name] for name in AGGREGATES if name in names}


class SummaryMirror:
    """See the module's head."""

    def __init__(self, start_time_ns: int) -> None:
        self.tree: dict[str, Any] = {}
        self._start_time_ns = start_time_ns
        self._by_hand: set[str] = set()
        self._rules: dict[str, frozenset[str]] = {}
        self._aggregates: dict[str, _Aggregate] = {}
        self._backlog: list[bytes] = []
        self._filled: dict[str, tuple[int, Any]] = {}
        """By key: the step and the newest of the values that came after their row."""

    def fold(self, slots: Iterable[Slot], open_step: int) -> None:
        """Apply the rows below `open_step` and forget them; rows of the open step are kept for later."""
        rows: list[Row] = []
        waiting: list[bytes] = []
        for body in self._backlog:
            _sort_out(body, open_step, rows, waiting)
        self._backlog = waiting
        for slot in slots:
            kept: list[bytes] = []
            for body in slot.take():
                _sort_out(body, open_step, rows, kept)
            slot.body = kept[-1] if kept else None
        rows.sort(key=lambda row: (row.step, row.time_ns))
        for row in rows:
            self._apply(row)
        for key, (step, value) in list(self._filled.items()):
            if step < open_step:
                del self._filled[key]
                if "none" not in self._rule(key):
                    self.tree[key] = value

    def fill(self, step: int, values: dict[str, Any]) -> None:
        """Values that came after their row; they count once the step is closed."""
        for key, value in values.items():
            self._filled[key] = (step, value)

    def add_backlog(self, body: bytes, slots: Iterable[Slot], open_step: int) -> None:
        """Keep a row whole until the next `fold`, which happens here when there are many."""
        self._backlog.append(body)
        if len(self._backlog) >= BACKLOG_ROWS:
            self.fold(slots, open_step)
            del self._backlog[: -BACKLOG_ROWS // 2]  # all of one open step: its newest values count

    def set_by_hand(self, path: list[str], value: Any) -> None:
        """`run.summary[...] = value`."""
        at = self.tree
        for key in path[:-1]:
            following = at.get(key)
            if not isinstance(following, dict):
                following = at[key] = {}
            at = following
        self._by_hand.add(path[0])
        if value is None and len(path) == 1:
            at.pop(path[0], None)
        else:
            at[path[-1]] = value

    def remove(self, path: list[str]) -> None:
        """`del run.summary[...]`; what is not there is gone already."""
        at: Any = self.tree
        for key in path[:-1]:
            at = at.get(key)
            if not isinstance(at, dict):
                return
        at.pop(path[-1], None)

    def add_rule(self, name: str, aggregates: Iterable[str] | None, overwrite: bool) -> None:
        """A `define_metric` call: adds aggregates to those of earlier calls, or replaces them."""
        given = frozenset(aggregates or ())
        earlier = frozenset() if overwrite else self._rules.get(name, frozenset())
        if given or overwrite:
            self._rules[name] = given | earlier
            self._by_hand.discard(name)

    def has_rule_for(self, keys: Iterable[str]) -> bool:
        """Whether rows with these top-level keys have to be observed one by one."""
        if not self._rules:
            return False
        return any(
            name == key or name.startswith(f"{key}.") or (name.endswith("*") and _may_match(name, key))
            for name in self._rules
            for key in keys
        )

    def observe(self, encoded: bytes) -> None:
        """Count the encoded data of one row in the aggregates of its leaves."""
        self.observe_row(_decode_data(encoded))

    def observe_row(self, data: dict[str, Any]) -> None:
        """Count the data of one row in the aggregates of its leaves."""
        for path, value in _leaves(data, ()):
            name = ".".join(path)
            if self._rule(name) and value is not None:
                self._aggregates.setdefault(name, _Aggregate()).add(_shown(value))

    def _rule(self, name: str) -> frozenset[str]:
        exact = self._rules.get(name)
        if exact is not None:
            return exact
        for pattern, rule in self._rules.items():
            if pattern.endswith("*") and name.startswith(pattern[:-1]):
                return rule
        return frozenset()

    def _apply(self, row: Row) -> None:
        for path, value in _leaves(row.data, ()):
            top = path[0]
            if top in self._by_hand and len(path) > 1:
                self.tree.pop(top, None)
                self._by_hand.discard(top)
            rule = self._rule(".".join(path)) if top not in self._by_hand else frozenset()
            self._by_hand.discard(top)
            if value is None or "none" in rule:
                self.remove(list(path))
                continue
            aggregates = self._aggregates.get(".".join(path))
            wanted = rule & frozenset(AGGREGATES)
            shown = aggregates.shown(wanted) if wanted and aggregates is not None else _shown(value)
            self._set(path, shown)
        self.tree["_step"] = row.step
        timestamp = row.data.get("_timestamp", row.time_ns / 1e9)
        self.tree["_timestamp"] = timestamp
        self.tree["_runtime"] = row.time_ns / 1e9 - self._start_time_ns / 1e9

    def _set(self, path: tuple[str, ...], value: Any) -> None:
        at = self.tree
        for key in path[:-1]:
            following = at.get(key)
            if not isinstance(following, dict):
                following = at[key] = {}
            at = following
        at[path[-1]] = value


def _sort_out(body: bytes, open_step: int, closed: list[Row], still_open: list[bytes]) -> None:
    row = decode(body)
    if isinstance(row, Row) and row.step < open_step:
        closed.append(row)
    else:
        still_open.append(body)


def _may_match(pattern: str, key: str) -> bool:
    stem = pattern[:-1]
    return key.startswith(stem) or stem.startswith(f"{key}.")


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, item in value.items():
        if not path and key in ("_step", "_runtime", "_timestamp", ""):
            continue
        here = (*path, str(key))
        if isinstance(item, dict):
            yield from _leaves(item, here)
        elif isinstance(item, Media) and item.kind in _CHARTS:  # its table is what is stored, under a key of its own
            section = "Custom Chart Tables/" if item.args.get("split_table") else ""
            yield (f"{section}{'.'.join(here)}_table",), item
        else:
            yield here, item


_LOG_TYPES = {
    "Audio": "audio-file",
    "array": "histogram",
    "Graph": "graph-file",
    "Html": "html-file",
    "Image": "image-file",
    "JoinedTable": "joined-table",
    "Molecule": "molecule-file",
    "Object3D": "object3D-file",
    "Plotly": "plotly-file",
    "Table": "table-file",
    "Video": "video-file",
    "Visualize": "table-file",
}
_CHARTS = frozenset({"CustomChart", "pr_curve", "roc_curve"})


def media_shown(media: Media) -> dict[str, Any]:
    """What can be said of a media value before it is encoded: its type, and its caption. W&B has its file, too."""
    shown: dict[str, Any] = {"_type": _LOG_TYPES.get(media.kind.partition(".")[0], media.kind.lower())}
    if media.kind in _CHARTS:
        shown["_type"] = "table-file"
    if media.args.get("mode") == "INCREMENTAL":
        shown["_type"] = "incremental-table-file"
    if isinstance(media.args.get("caption"), str):
        shown["caption"] = media.args["caption"]
    return shown


def _shown(value: Any) -> Any:
    """A leaf as it reads back from W&B: integers beyond 63 bits as floats, large arrays as histograms."""
    if isinstance(value, int) and not -_LARGEST_EXACT_INT <= value < _LARGEST_EXACT_INT:
        return float(value)
    if isinstance(value, Array):
        return histogram(value)
    if isinstance(value, Media):
        return media_shown(value)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, list):
        return [_shown(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _shown(item) for key, item in value.items()}
    isoformat = getattr(value, "isoformat", None)
    return isoformat().replace("+00:00", "Z") if isoformat is not None else value
