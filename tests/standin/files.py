"""Uploaded contents: run files, and the byte storage under them that artifacts use too.

A content is received aside, checked against Content-MD5 when the request has one, and renamed into place. Its path
is made from a hash of its key: no name a client sends ever becomes a path of this machine.
"""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import os
import re
import tempfile
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from .graphql import GraphQLError, Node, connection
from .runs import Runs, iso, node_id
from .store import Doc, Store


class ChecksumError(Exception):
    """What came is not what its Content-MD5 says: 400, nothing is kept."""


class Contents:
    """Bytes by key."""

    def __init__(self, store: Store, *, forgets: bool = False):
        """`forgets`: artifacts' files leave their digest alone, so that more can be uploaded than the disk holds."""
        self.directory = store.contents
        self.forgets = forgets

    def path(self, key: str) -> Path:
        """Where the content of the key is, or would be."""
        return self.directory / hashlib.sha256(key.encode()).hexdigest()

    def receive(self, key: str, chunks: Iterable[bytes], content_md5: str = "") -> Doc:
        """Store a content: {"size", "md5" (base64)}. Raises ChecksumError; then the old content is untouched."""
        digest, size = hashlib.md5(usedforsecurity=False), 0
        descriptor, aside = tempfile.mkstemp(dir=self.directory, prefix="coming-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in chunks:
                    if not (self.forgets and key.startswith("object/")):
                        file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
            md5 = base64.b64encode(digest.digest()).decode()
            if content_md5 and content_md5 != md5:
                raise ChecksumError(f"Content-MD5 says {content_md5}, the content's is {md5}")
            Path(aside).replace(self.path(key))
        finally:
            Path(aside).unlink(missing_ok=True)
        return {"size": size, "md5": md5}

    def open(self, key: str) -> IO[bytes] | None:
        """The content for reading, or None when there is none."""
        try:
            return self.path(key).open("rb")
        except FileNotFoundError:
            return None


class RunFiles:
    """The files of runs, and their part of the graph. `base_url()` is where clients reach this server."""

    def __init__(self, runs: Runs, contents: Contents):
        self.runs = runs
        self.contents = contents

    @staticmethod
    def url(base_url: str, key: str, name: str) -> str:
        """Where a run's file is put and got."""
        return f"{base_url}/storage/run/{quote(key)}/{quote(name)}"

    def create(self, arguments: Node, base_url: str) -> Node:
        """CreateRunFiles: upload URLs for names."""
        given = arguments["input"]
        key = self.runs.key(given.get("entityName"), given.get("projectName"), given["runName"])
        doc = self.runs.find(key)
        if doc is None:
            raise GraphQLError(f"run {key} not found", 404)
        files = [
            {"__typename": "File", "name": name, "uploadUrl": self.url(base_url, key, name)} for name in given["files"]
        ]
        return {"__typename": "CreateRunFilesPayload", "runID": doc["id"], "uploadHeaders": [], "files": files}

    def received(self, key: str, name: str, about: Doc) -> None:
        """An upload has come: note it with its run."""
        with self.runs.store.change():
            doc = self.runs.find(key) or self.runs.create(key)
            before = doc["files"].get(name, {})
            uploads = before.get("uploads", 0) + 1
            doc["files"][name] = {**before, **about, "at": time.time(), "uploads": uploads}
            self.runs.save(doc)

    def mark_uploaded(self, arguments: Node) -> Node:
        """MarkRunFilesUploaded: what SDKs say once the bytes are there."""
        return {"__typename": "MarkRunFilesUploadedPayload", "success": True}

    def node(self, doc: Doc, base_url: str, arguments: Node) -> Node:
        """A run's `files` connection, by names or by a LIKE pattern."""
        names: list[Any] = arguments.get("names") or arguments.get("fileNames") or []
        pattern = arguments.get("pattern")
        like = re.compile(re.escape(pattern).replace("%", ".*").replace("_", ".")) if pattern else None
        nodes = []
        for name, about in sorted(doc["files"].items()):
            if (names and name not in names) or (like and not like.fullmatch(name)):
                continue
            url = self.url(base_url, doc["key"], name)
            nodes.append(file_node(name, url, about, node_id("File", doc["key"], name)))
        return connection("File", nodes, arguments)


def file_node(name: str, url: str, about: Doc, opaque: str = "") -> Node:
    """A file as a node of the graph."""
    mime = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return {
        "__typename": "File", "id": opaque or node_id("File", uuid.uuid4().hex), "name": name, "displayName": name,
        "url": lambda a: url, "directUrl": url, "uploadUrl": url, "uploadHeaders": [], "sizeBytes": about.get("size",
                                                                                                              0),
        "mimetype": mime, "updatedAt": iso(about.get("at", time.time())), "md5": about.get("md5", ""),
        "digest": about.get("digest", about.get("md5", "")), "storagePath": name,
    }  # fmt: skip
