"""The server: all nouns together, and the HTTP they are reached by.

Two ports: W&B's own, which `down()` takes away, and the control port, which always answers. /_control works on both.

    POST /graphql                                      the graph (schema)
    POST /files/ENTITY/PROJECT/RUN/file_stream         lines, summary, exit code, heartbeats
    PUT, GET /storage/run/ENTITY/PROJECT/RUN/NAME      run files       (GET also as /files/ENTITY/PROJECT/RUN/NAME)
    PUT, GET /storage/content/KEY                      artifact files and parts of them
    PUT /storage/manifest-upload/ID, GET /storage/manifest/ARTIFACT
    GET /artifacts/ENTITY/HEX, /artifactsV2/…/HEX/NAME artifact files by digest
    GET /healthz, /ENTITY/PROJECT/runs/RUN             a page of plain text
"""

from __future__ import annotations

import json
import logging
import socket
import ssl
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from . import file_stream, graphql, limits
from .artifact_graph import ArtifactGraph
from .artifacts import Artifacts
from .control import Control
from .faults import Faults
from .files import Contents, RunFiles
from .listener import Listener
from .runs import Runs
from .schema import Schema
from .store import Doc, Store
from .sweeps import Sweeps

log = logging.getLogger("standin")


class Server:
    """A stand-in in this process. `url` is what WANDB_BASE_URL gets, `control_url` what class Standin gets.

    `port` and `control_port` 0 mean any free one; without `state_dir` everything is forgotten at stop().
    With `forgets` artifacts' files cannot be downloaded again: their digests are all that is kept. With `tls` W&B's own
    port is https; the control port never is.
    Raises OSError when a port is taken.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        control_port: int = 0,
        state_dir: Path | None = None,
        entity: str = "standin",
        forgets: bool = False,
        tls: ssl.SSLContext | None = None,
    ):
        from .handler import Handler

        self.store = Store(state_dir)
        self.faults = Faults()
        self.runs = Runs(self.store, entity)
        self.contents = Contents(self.store, forgets=forgets)
        self.files = RunFiles(self.runs, self.contents)
        self.artifacts = Artifacts(self.runs, self.contents)
        self.sweeps = Sweeps(self.runs)
        self.schema = Schema(self.runs, self.files, self.artifacts, self.sweeps)
        self.control = Control(self)
        self.scheme = "https" if tls is not None else "http"
        self.keys: list[str] | None = None
        self.requests: deque[Doc] = deque(maxlen=limits.MAX_REQUESTS_LOGGED)
        self.requests_total = 0
        self.unknown: dict[str, int] = {}
        self._lock = threading.Lock()

        def main(connection: socket.socket, address: tuple[str, int]) -> None:
            Handler(connection, address, self)

        try:
            self.listener = Listener(host, port, main, tls)
            self.control_listener = Listener(host, control_port, main)
        except OSError:
            self.store.close()
            raise

    @property
    def url(self) -> str:
        """Where SDKs find it."""
        return f"{self.scheme}://{self.listener.host}:{self.listener.port}"

    @property
    def control_url(self) -> str:
        """Where the control API is, down or not."""
        return f"http://{self.control_listener.host}:{self.control_listener.port}"

    def start(self) -> Server:
        """Listen on both ports."""
        self.control_listener.up()
        self.listener.up()
        return self

    def stop(self) -> None:
        """End every connection and thread; the state stays in its directory, if it has one."""
        self.faults.clear()
        self.listener.close()
        self.control_listener.close()
        self.store.close()

    def note(self, **about: Any) -> None:
        """Remember a request."""
        with self._lock:
            self.requests_total += 1
            self.requests.append({"n": self.requests_total, "at": time.time(), **about})
        self.store.touch()

    def note_unknown(self, name: str) -> None:
        """Somebody asked for what we do not know: remembered, and said loudly once."""
        with self._lock:
            self.unknown[name] = self.unknown.get(name, 0) + 1
            first = self.unknown[name] == 1
        if first:
            log.warning("unknown_operation name=%r", name)

    def graphql(self, document: graphql.Document, variables: Doc, base_url: str) -> tuple[int, Doc]:
        """Carry out a document: (HTTP status, answer)."""
        root = self.schema.mutation if document.operation == "mutation" else self.schema.query
        execution = graphql.Execution(document, variables, self.note_unknown)
        answer = execution.run(root(base_url))
        return execution.status, answer

    def file_stream(self, key: str, body: Doc) -> tuple[int, Doc]:
        """Apply a file_stream post: (HTTP status, answer)."""
        try:
            return 200, file_stream.apply(self.runs, key, body)
        except file_stream.UnknownRunError as error:
            return 404, {"error": str(error)}

    def manifest(self, opaque: str, base_url: str) -> bytes | None:
        """An artifact's whole manifest."""
        return ArtifactGraph(self.artifacts, base_url).manifest_bytes(opaque)

    def page(self, key: str) -> str | None:
        """What a person sees who opens a run's address."""
        doc = self.store.get("run", key)
        if doc is None:
            return None
        rows = self.runs.rows(key)
        last = json.dumps(rows[-1], indent=2) if rows else "none"
        return (
            f"run {key}\nname {doc['displayName']}\nstate {self.runs.state(doc)}\nexit code {doc['exit_code']}\n"
            f"rows {len(rows)}\nfiles {', '.join(sorted(doc['files'])) or 'none'}\nlast row {last}\n"
            f"summary {json.dumps(doc['summary'], indent=2)}\nconfig {json.dumps(doc['config'], indent=2)}\n"
        )
