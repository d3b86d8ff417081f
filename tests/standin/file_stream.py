"""file_stream: how a run's lines, summary, exit code and heartbeats arrive.

A post's body is {"files": {name: {"offset", "content": [lines]}}, "uploaded": [names], "complete", "exitcode",
"preempting", "dropped"}. Lines go to their offsets, so a post applied twice is applied once. The summary is one
line that replaces the one before. The answer carries the run's exit code and the stop request.
"""

from __future__ import annotations

import json
import time
from typing import Any

from .graphql import Node
from .runs import SUMMARY, Runs


class UnknownRunError(Exception):
    """file_stream for a run nobody made: 404."""


def apply(runs: Runs, key: str, body: Node) -> Node:
    """Apply one post; returns the answer's body. Raises UnknownRunError."""
    store = runs.store
    with store.change():
        doc = store.get("run", key)
        if doc is None:
            raise UnknownRunError(f"run {key} not found")
        for name, chunk in (body.get("files") or {}).items():
            content: list[Any] = chunk.get("content") or []
            if name == SUMMARY:
                doc["summary"] = json.loads(content[-1]) if content else doc["summary"]
            else:
                store.put_lines(key, name, int(chunk.get("offset") or 0), content)
        for name in body.get("uploaded") or []:
            if name in doc["files"]:
                doc["files"][name]["announced"] = True
        if body.get("preempting"):
            doc["state"] = "preempting"
        if body.get("complete"):
            doc["exit_code"] = int(body.get("exitcode") or 0)
            doc["state"] = "failed" if doc["exit_code"] else "finished"
        elif doc["state"] == "crashed":
            doc["state"] = "running"
        doc["dropped"] = doc.get("dropped", 0) + int(body.get("dropped") or 0)
        doc["heartbeat_at"] = time.time()
        runs.save(doc)
    return {"exitcode": doc["exit_code"], "limits": {}, "stopped": doc["stop_requested"]}
