"""What became of the tables that were logged, so that the next log of one goes on from there.

wandb keeps that in the Table object, which lives in the training process; here it must survive the worker:

    <state>/workers/<run>.tables    a JSON line for each table logged (Logged), written before its row

Invariants
* A table that has not changed since it was logged is answered with what wandb made of it then: no new file, no new
  artifact version. A line of the very row that is written again says nothing: that row is not there, so wandb makes the
  table again, with the same names.
* Increments of a table are numbered on, and each names the artifacts of those before it.
* The newest TABLES_KEPT tables are remembered. An older one, logged again, is made anew.
"""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

import msgspec

from telemetryd.runs.limits import LINKED_ROWS_MAX, LINKED_TABLES_KEPT, TABLES_KEPT

log = logging.getLogger(__name__)


class Logged(msgspec.Struct, omit_defaults=True):
    """One line. `json` is what the row stores; of an increment without `previous_increments_paths`, which are the
    `before` of the first line of its table and the artifacts of the lines between."""

    id: str
    version: int
    increment: int | None
    key: str
    step: int
    json: dict[str, Any]
    before: list[str] = []


_encode = msgspec.json.Encoder(enc_hook=str).encode  # str: wandb has a class of its own for paths
_decode = msgspec.json.Decoder(Logged).decode
_NAME = "previous_increments_paths"


class TableLog:
    """See the module's head. Raises OSError where the file cannot be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._logged: OrderedDict[tuple[str, int], Logged] = OrderedDict()
        self._paths: dict[str, list[str]] = {}
        """Of a table in increments: the artifacts before its newest one."""
        self._fresh: set[tuple[str, int]] = set()
        """Made or remade by this worker."""
        self._objects: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self._read()

    def _read(self) -> None:
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            with contextlib.suppress(msgspec.MsgspecError):  # the last line of a killed worker
                self._take(_decode(line))

    def _take(self, line: Logged) -> None:
        earlier = self._logged.pop((line.id, line.version), None)
        if line.increment is not None:
            self._paths[line.id] = self._paths_before(line, earlier)
        self._logged[line.id, line.version] = line
        while len(self._logged) > TABLES_KEPT:
            (identity, version), _ = self._logged.popitem(last=False)
            self._paths.pop(identity, None)
            self._fresh.discard((identity, version))

    def _paths_before(self, line: Logged, earlier: Logged | None) -> list[str]:
        if earlier is None:
            return list(line.before)
        paths = self._paths.get(line.id, [])
        if earlier.increment == line.increment:  # the same one, written again
            return paths
        path = earlier.json.get("artifact_path")
        return [*paths, path] if path else paths

    def answer(self, args: dict[str, Any], step: int) -> dict[str, Any] | None:
        """What is stored of a table that was logged before and has not changed; None when wandb has to make it."""
        line = self._logged.get((args["id"], args["version"]))
        if line is None or line.increment != args.get("increment"):
            return None
        if line.step == step and (line.id, line.version) not in self._fresh:
            return None
        json = line.json | {"ncols": len(args["columns"]), "nrows": args["count"]}  # which wandb tells as they are now
        if line.increment is not None:
            json[_NAME] = list(self._paths.get(line.id, []))
        return json

    def add(self, args: dict[str, Any], key: str, step: int, json: dict[str, Any]) -> None:
        """wandb made this of a table."""
        increment = args.get("increment")
        kept = {name: value for name, value in json.items() if name != _NAME}
        line = Logged(args["id"], args["version"], increment, key, step, kept)
        if increment is not None and (line.id, line.version) not in self._logged:
            line.before = list(json.get(_NAME, []))
        with self._path.open("ab") as file:
            file.write(b"\n" + _encode(line))  # behind a torn line, too
        self._take(line)
        self._fresh.add((line.id, line.version))

    def before(self, args: dict[str, Any], key: str) -> tuple[int | None, list[str] | None]:
        """(number, artifacts before) of an increment that wandb is to make. A number of None: it is the table's first;
        artifacts of None: wandb looks into the run's summary, for what another process may have logged."""
        identity, version, increment = args["id"], args["version"], args["increment"]
        line = self._logged.get((identity, version))
        if line is not None and line.increment != increment:
            return line.json["increment_num"] + 1, self._paths_before(
                Logged(identity, version, increment, key, 0, {}), line
            )
        if line is not None:  # the same, written again
            return line.json["increment_num"] or None, list(self._paths.get(identity, []))
        if increment:
            log.warning("increments_lost table=%s increment=%d", identity, increment)
            return increment, []
        return None, [] if self._is_of_this_process(identity, key) else None

    def _is_of_this_process(self, identity: str, key: str) -> bool:
        process = identity.rpartition("-")[0]
        same_key = [line.id for line in self._logged.values() if line.key == key and line.increment is not None]
        return bool(same_key) and same_key[-1].rpartition("-")[0] == process

    def keep(self, args: dict[str, Any], made: Any) -> None:
        """wandb's object of a table that was logged: what refers to the table afterwards refers to its artifact."""
        if args.get("increment") is None and args["count"] <= LINKED_ROWS_MAX:
            self._objects[args["id"], args["version"]] = made
            while len(self._objects) > LINKED_TABLES_KEPT:
                self._objects.popitem(last=False)

    def logged_object(self, args: dict[str, Any]) -> Any:
        """wandb's object of a table that was logged before; None where it is not kept, and a copy is made."""
        return self._objects.get((args["id"], args["version"]))

    def clear(self) -> None:
        """The run is finished."""
        self._path.unlink(missing_ok=True)
