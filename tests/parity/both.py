"""Runs one script on wandb, offline, and on telemetryd's client, recorded; gives back what each of them kept.

As a program: `python -m tests.parity.both SCRIPT` runs the script on a recorded client and prints what was recorded.
"""

from __future__ import annotations

import json
import os
import runpy
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parent / "api_scripts"
DEADLINE_S = 100
_BLOCK = 32768
_OWN_KEYS = ("_runtime", "_timestamp", "_wandb")


@dataclass
class Kept:
    """Of each run, oldest first: rows with their `_step`, config, summary."""

    rows: list[list[dict[str, Any]]] = field(default_factory=list)
    configs: list[dict[str, Any]] = field(default_factory=list)
    summaries: list[dict[str, Any]] = field(default_factory=list)


def on_wandb(script: str, folder: Path) -> Kept:
    """Run it on the real wandb and read its .wandb files."""
    _run([sys.executable, str(SCRIPTS / script)], folder, {"PARITY_MODULE": "wandb", "WANDB_MODE": "offline"})
    kept = Kept()
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        _read_run(path, kept)
    return kept


def on_client(script: str, folder: Path) -> Kept:
    """Run it on the client, recorded."""
    printed = _run(
        [sys.executable, "-m", "tests.parity.both", str(SCRIPTS / script)], folder, {"PARITY_MODULE": "client"}
    )
    return Kept(**json.loads(printed.splitlines()[-1]))


def _run(command: list[str], folder: Path, extra: dict[str, str]) -> str:
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, **extra, "WANDB_DIR": str(folder), "WANDB_SILENT": "true", "PYTHONPATH": root}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _records(path: Path) -> Iterator[Any]:
    from wandb.proto import wandb_internal_pb2 as pb

    raw = path.read_bytes()
    position, parts = 7, b""
    while position + 7 <= len(raw):
        left = _BLOCK - position % _BLOCK
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", raw, position)
        parts = (parts if kind in (3, 4) else b"") + raw[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            record = pb.Record()
            record.ParseFromString(parts)
            yield record


def _put(target: dict[str, Any], item: Any) -> None:
    path = list(item.nested_key) or [item.key]
    if path[0] in _OWN_KEYS:
        return
    for key in path[:-1]:
        target = target.setdefault(key, {})
    target[path[-1]] = json.loads(item.value_json)


def _drop(target: dict[str, Any], item: Any) -> None:
    path = list(item.nested_key) or [item.key]
    for key in path[:-1]:
        target = target.get(key, {})
    target.pop(path[-1], None)


def _read_run(path: Path, kept: Kept) -> None:
    rows: list[dict[str, Any]] = []
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for record in _records(path):
        if record.HasField("history"):
            rows.append({})
            for item in record.history.item:
                _put(rows[-1], item)
        for update in record.run.config.update if record.HasField("run") else []:
            _put(config, update)
        for update in record.config.update if record.HasField("config") else []:
            _put(config, update)
        if record.HasField("summary"):
            for item in record.summary.update:
                _put(summary, item)
            for item in record.summary.remove:
                _drop(summary, item)
    kept.rows.append(rows)
    kept.configs.append(config)
    kept.summaries.append(summary)


def _record(script: str) -> Kept:
    import wandb

    from client.protocol.records import Array
    from client.tensors import histogram
    from client.testing import recording

    def as_stored(value: Any) -> Any:
        """The JSON that wandb makes of a value, which is what the daemon gives it."""
        if isinstance(value, Array):
            return histogram(value)
        if isinstance(value, dict):
            return {str(key): as_stored(item) for key, item in value.items()}
        if isinstance(value, list):
            return [as_stored(item) for item in value]
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            return float(value)
        return json.loads(wandb.util.json_dumps_safer_history(value))

    with recording() as recorded:
        runpy.run_path(script, run_name="__main__")
    kept = Kept()
    for run in recorded.runs:
        kept.rows.append(as_stored(run.rows))
        kept.configs.append(run.config)
        kept.summaries.append(run.summary)
    return kept


if __name__ == "__main__":
    print()
    print(json.dumps(vars(_record(sys.argv[1]))))
