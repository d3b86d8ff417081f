"""What a script's runs left, as one flat mapping from a path ("parity/history/3/loss") to a text.

Offline it is read from the runs' folders, online from the stand-in's memory. Both give the same paths where they can:

    RUN/what/…          name, notes, tags, group, job type, project, entity
    RUN/history/N/KEY   the value as JSON text, which tells NaN, 1 and 1.0 apart; N counts rows, KEY "_step" is the step
    RUN/config/KEY      top-level keys
    RUN/summary/KEY     nested keys joined by "."
    RUN/metric/NAME     the definition
    RUN/output/…        what was printed: "log" is output.log, "lines" the Logs tab, "stdout" and "stderr" each stream
    RUN/file/NAME       the text, or the SHA-256 of what is no text
    RUN/metadata/KEY    what W&B knows of the process
    RUN/alert/N/KEY     alerts
    RUN/artifact/N/KEY  artifacts with their files' digests
    RUN/chart/KEY       how a chart is drawn
    RUN/end             the exit code

Left out is what differs between any two runs of the same script: times, process numbers, the folder's path, the names
that wandb draws at random (of artifacts before they have versions, of files of arrays).
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from telemetryd.runs import wandb_file
from tests.parity.compare import TIMES, content, exit_code, history, run_record
from tests.standin.client import Doc, Standin

Kept = dict[str, str]

TIMED = frozenset({*TIMES, "_wandb"})
"""Keys of config and summary with times in them; `_wandb` holds the SDK's telemetry."""

DERIVED = ("config.yaml", "wandb-summary.json", "wandb-metadata.json")
"""Files that say once more what is compared by itself."""

VARYING = ("startedAt", "writerId", "disk.*", "memory.*")
"""Metadata that differs between any two runs, or that the machine changes meanwhile."""

_TEXTS = (".txt", ".log", ".patch", ".py", ".json", ".md", ".csv", ".yaml")


def offline(folder: Path) -> Kept:
    """Of the runs in a folder's `wandb/`."""
    kept: Kept = {}
    files = sorted(folder.glob("wandb/*run-*/run-*.wandb"), key=lambda file: (file.name, file.stat().st_mtime_ns))
    for number, file in enumerate(files):
        run = file.stem.removeprefix("run-")
        again = sum(other.name == file.name for other in files[:number])
        _read_run(kept, f"{run}~{again + 1}" if again else run, file)
    return plain(kept, folder)


def _read_run(kept: Kept, run: str, file: Path) -> None:
    kept |= {f"{run}/what/{key}": json.dumps(value) for key, value in run_record(file).items()}
    for number, (step, items) in enumerate(history(file)):
        kept[f"{run}/history/{number}/_step"] = str(step)
        for key, text in json.loads(items).items():
            kept[f"{run}/history/{number}/{'.'.join(json.loads(key))}"] = text
    said = content(file)
    _put_tree(kept, f"{run}/config", json.loads(said.pop("config")), depth=1)
    _put_tree(kept, f"{run}/summary", json.loads(said.pop("summary")))
    kept |= {f"{run}/metric/{name}": definition for name, definition in said.items()}
    metadata: dict[str, Any] = {}
    artifacts: list[Any] = []
    alerts = 0
    for record in wandb_file.records(file):
        kind = record.WhichOneof("record_type")
        if kind == "output_raw":
            stream = "stderr" if record.output_raw.output_type == record.output_raw.STDERR else "stdout"
            kept[f"{run}/output/{stream}"] = kept.get(f"{run}/output/{stream}", "") + record.output_raw.line
        elif kind == "environment":
            metadata |= _environment(record.environment)
        elif kind == "alert":
            alert = record.alert
            _put_tree(kept, f"{run}/alert/{alerts}", {"title": alert.title, "text": alert.text, "level": alert.level})
            alerts += 1
        elif kind == "config":
            for item in record.config.update:
                if list(item.nested_key)[:1] == ["_wandb"] and item.nested_key[1] in CHARTS:
                    kept[f"{run}/chart/{'.'.join(item.nested_key[1:])}"] = _text(json.loads(item.value_json))
        elif kind == "artifact":
            artifacts.append(record.artifact)
    artifacts.sort(key=lambda artifact: str(artifact.name))
    for number, artifact in enumerate(artifacts):
        contents = {entry.path: entry.digest for entry in artifact.manifest.contents}
        facts = {name: getattr(artifact, name) for name in _ARTIFACT_OFFLINE}
        lists = {name: sorted(getattr(artifact, name)) for name in ("aliases", "tags")}
        _put_artifact(kept, number, facts | lists, contents)
    _put_tree(kept, f"{run}/metadata", metadata)
    kept[f"{run}/end"] = str(exit_code(file))
    files = file.parent / "files"
    for path in sorted(files.rglob("*")) if files.is_dir() else ():
        if path.is_file():
            _put_file(kept, run, str(path.relative_to(files)), path.read_bytes())


def _environment(record: Any) -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    return dict(MessageToDict(record))


def online(standin: Standin, entity: str, folder: Path) -> Kept:
    """Of an entity's runs at the stand-in, for a script that ran in `folder`."""
    kept: Kept = {}
    for doc in standin.runs():
        if doc["entity"] == entity:
            _fetch_run(kept, standin, doc)
    own = [artifact for artifact in standin.artifacts() if artifact.get("entity") == entity]
    for number, artifact in enumerate(sorted(own, key=lambda artifact: str(artifact["name"]))):
        contents = {path: entry.get("digest") for path, entry in artifact["contents"].items()}
        facts = {key: artifact.get(key) for key in _ARTIFACT}
        facts |= {"of_run": artifact.get("run"), "used_by": artifact.get("used_by")}
        _put_artifact(kept, number, facts, contents)
    return plain(kept, folder)


_ARTIFACT = ("name", "type", "state", "version", "aliases", "description", "metadata", "tags")
_ARTIFACT_OFFLINE = ("name", "type", "description", "metadata", "incremental_beta1")
CHARTS = ("visualize", "viz")
"""Where `_wandb` of the config says how charts are drawn."""


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _put_artifact(kept: Kept, number: int, facts: dict[str, Any], contents: dict[str, Any]) -> None:
    kept |= {f"artifact/{number}/{name}": _text(value) for name, value in facts.items()}
    names = sorted(contents)
    varies = {name for name in names if _plain_names(name) != name and not name.startswith("None-")}
    if varies:  # the files that name these in their text vary with them
        varies |= {
            name for name in names if name.endswith(".table.json") and not name.startswith(("media/", "None-", "t"))
        }
        varies |= {name for name in names if name.endswith(".joined-table.json")}
    digests = [(_plain_names(name), None if name in varies else contents[name]) for name in names]
    if facts["type"] != "wandb-run-incremental-table":
        kept[f"artifact/{number}/contents"] = _text(digests)
        return
    path = f"artifact/{facts['name']}/increments"  # of all versions: when one is built on which is a race within wandb
    kept[path] = _text(sorted({*map(tuple, json.loads(kept.get(path, "[]"))), *digests}, key=str))


def _fetch_run(kept: Kept, standin: Standin, doc: Doc) -> None:
    key, run = doc["key"], doc["name"]
    names = {"entity": "entity", "project": "project", "displayName": "name", "notes": "notes", "tags": "tags"}
    names |= {"group": "group", "jobType": "job_type", "commit": "commit", "repo": "repo", "program": "program"}
    kept |= {f"{run}/what/{name}": json.dumps(doc[field]) for field, name in names.items()}
    for number, row in enumerate(standin.rows(key)):
        _put_tree(kept, f"{run}/history/{number}", {name: item for name, item in row.items() if name not in TIMED})
    config = {name: item.get("value") for name, item in doc["config"].items()}
    own = config.pop("_wandb", {})
    for name in CHARTS:
        kept |= {f"{run}/chart/{name}.{key}": _text(value) for key, value in own.get(name, {}).items()}
    metrics = own.get("m") or []
    names = [metric.get("1") or metric.get("2") for metric in metrics]
    for name, metric in zip(names, metrics, strict=True):
        if isinstance(at := metric.get("5"), int):  # the step metric's place in the list, which is in no order
            metric["5"] = names[at - 1]
        kept[f"{run}/metric/{name}"] = json.dumps(metric, sort_keys=True)
    _put_tree(kept, f"{run}/config", config, depth=1)
    _put_tree(kept, f"{run}/summary", {name: item for name, item in doc["summary"].items() if name not in TIMED})
    kept[f"{run}/output/lines"] = "\n".join(standin.outputs(key))
    for number, alert in enumerate(doc["alerts"]):
        _put_tree(kept, f"{run}/alert/{number}", {name: alert[name] for name in ("title", "text", "severity")})
    kept[f"{run}/end"] = str(doc["exit_code"])
    for name in standin.files(key):
        read = standin.read_file(key, name)
        if name == "wandb-metadata.json":
            _put_tree(kept, f"{run}/metadata", json.loads(read))
        _put_file(kept, run, name, read)


def _put_file(kept: Kept, run: str, name: str, data: bytes) -> None:
    if name in DERIVED:
        return
    try:
        text = data.decode() if name.endswith(_TEXTS) else None
    except UnicodeDecodeError:
        text = None
    path = f"{run}/output/log" if name == "output.log" else f"{run}/file/{name}"
    kept[path] = text if text is not None else f"{len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}"


def _put_tree(kept: Kept, path: str, value: Any, depth: int = 20) -> None:
    for key, item in value.items():
        if key in TIMED:
            continue
        if isinstance(item, dict) and item and depth > 1:
            inner: Kept = {}
            _put_tree(inner, "", item, depth - 1)
            kept |= {f"{path}/{key}.{name[1:]}": text for name, text in inner.items()}
        else:
            kept[f"{path}/{key}"] = json.dumps(item, sort_keys=True)


def plain(kept: Kept, folder: Path) -> Kept:
    """Without what differs between any two runs."""
    left: Kept = {}
    clients: dict[str, int] = {}
    for path, text in sorted(kept.items()):
        _, _, rest = path.partition("/metadata/")
        if rest and any(fnmatch.fnmatchcase(rest, pattern) for pattern in VARYING):
            continue
        text = _CLIENT_ID.sub(lambda found: f"artifact://{clients.setdefault(found[1], len(clients))}", text)
        left[path] = _plain_names(text.replace(str(folder), "PROJECT"))
    return left


_CLIENT_ID = re.compile(r"artifact://([a-z0-9]{100,})")
"""An artifact that has no version yet."""


def _plain_names(text: str) -> str:
    """Without what is random or a time in the names of files: of arrays, increments, joined and linked tables."""
    for pattern, plain_name in _RANDOM_NAMES.items():
        text = re.sub(pattern, plain_name, text)
    return text


_RANDOM_NAMES = {
    r"[0-9a-f]{20}\.npz": "X.npz",
    r"\b(\d+|None)-\d{13}\.": r"\1-TIME.",
    r"\bt([12])_\d{10,}\.": r"t\1_ID.",
    r"media/tables/t_[a-z0-9]{8}\.": "media/tables/t_ID.",
}


def differing(theirs: Kept, ours: Kept) -> dict[str, tuple[str | None, str | None]]:
    """What is not the same: path → (wandb's, ours)."""
    paths: Iterable[str] = sorted(theirs.keys() | ours.keys())
    return {path: (theirs.get(path), ours.get(path)) for path in paths if theirs.get(path) != ours.get(path)}
