"""What an HTTP request is answered with, and the moving of contents: PUT into Contents, GET out of it, by ranges.

The paths are those at the head of server; None means that there is no such place or content.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from .files import ChecksumError

if TYPE_CHECKING:
    from .server import Server


@dataclass
class Answer:
    """Status, headers and a body of bytes or of a file: `size` bytes from where it stands."""

    status: int = 200
    body: bytes = b""
    type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    file: IO[bytes] | None = None
    size: int = 0


def as_json(value: Any, status: int = 200) -> Answer:
    """A JSON answer."""
    return Answer(status, json.dumps(value).encode())


def upload(server: Server, parts: list[str], content_md5: str, chunks: Iterable[bytes]) -> Answer | None:
    """Keep what comes in `chunks` under the path; 400 and nothing kept when its MD5 is another."""
    kind, rest = (parts[1], parts[2:]) if parts[0] == "storage" and len(parts) > 2 else ("", [])
    name = "/".join(rest)
    key = {"content": name, "manifest-upload": f"manifest/{name}", "run": f"run/{name}"}.get(kind)
    if key is None:
        return None
    try:
        about = server.contents.receive(key, chunks, content_md5)
    except ChecksumError as error:
        return as_json({"error": str(error)}, 400)
    if kind == "run":
        server.files.received("/".join(rest[:3]), "/".join(rest[3:]), about)
    return Answer(headers={"ETag": f'"{base64.b64decode(about["md5"]).hex()}"'})


def download(server: Server, parts: list[str], base_url: str, wanted: str) -> Answer | None:
    """The content of the path, or the part of it that the Range header `wanted` names."""
    if parts[:2] == ["storage", "manifest"]:
        body = server.manifest("/".join(parts[2:]), base_url)
        return None if body is None else Answer(body=body)
    if parts[0] == "storage":
        key = f"run/{'/'.join(parts[2:])}" if parts[1] == "run" else "/".join(parts[2:])
    elif parts[0] == "files":
        key = f"run/{'/'.join(parts[1:])}"
    else:
        key = f"object/{parts[1]}/{parts[2]}" if parts[0] == "artifacts" else f"object/{parts[2]}/{parts[-2]}"
    file = server.contents.open(key)
    return _part(file, wanted) if file else None


def _part(file: IO[bytes], wanted: str) -> Answer:
    whole = file.seek(0, 2)
    begin, end = 0, whole
    headers = {"Accept-Ranges": "bytes"}
    if wanted.startswith("bytes="):
        first, _, last = wanted[6:].partition("-")
        begin = int(first) if first else max(0, whole - int(last))
        end = min(whole, int(last) + 1) if first and last else whole
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{whole}"
    file.seek(begin)
    return Answer(206 if len(headers) > 1 else 200, b"", "application/octet-stream", headers, file, end - begin)
