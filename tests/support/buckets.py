"""Buckets on this machine, for the real boto3 and google-cloud-storage: moto serves S3. What wandb asks of GCS is so
little that it is served here, with generations, which the emulators that install from PyPI lack."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.requirements import require_module

S3_KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
ALONE = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_MAX_ATTEMPTS": "1",
    "GCE_METADATA_HOST": "127.0.0.1:9",
    "CLOUDSDK_CONFIG": "/nowhere",
}
"""Whatever this machine knows of clouds is left out."""


@contextlib.contextmanager
def s3() -> Iterator[tuple[str, Any]]:
    """(endpoint, a client with keys) of a new S3."""
    boto3, server = require_module("boto3"), require_module("moto.server")
    serving = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    serving.start()
    host, port = serving.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1",
        aws_access_key_id="testing", aws_secret_access_key="testing",
    )  # fmt: skip
    try:
        yield endpoint, client
    finally:
        client.close()
        serving.stop()


@dataclass
class Gcs:
    """Buckets of GCS: the generations of each object, oldest first. Objects are put directly."""

    endpoint: str = ""
    buckets: dict[str, dict[str, list[bytes]]] = field(default_factory=dict)

    def put(self, bucket: str, name: str, content: bytes) -> str:
        """Put an object; its generation."""
        generations = self.buckets.setdefault(bucket, {}).setdefault(name, [])
        generations.append(content)
        return str(1_000_000 + len(generations))

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        """The JSON API's objects.get and objects.list. (status, body)."""
        split = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(split.query).items()}
        words = split.path.removeprefix("/storage/v1/b/").split("/", 2)
        bucket = self.buckets.get(words[0])
        if bucket is None or words[1:2] != ["o"]:
            return 404, {"error": {"code": 404, "message": "The specified bucket does not exist."}}
        if len(words) == 2:
            names = sorted(name for name in bucket if name.startswith(query.get("prefix", "")))
            found = [self._object(words[0], name) for name in names[: int(query.get("maxResults", "1000"))]]
            return 200, {"kind": "storage#objects", "items": found}
        name, generation = unquote(words[2]), query.get("generation")
        if name not in bucket or (generation and int(generation) - 1_000_000 not in range(1, len(bucket[name]) + 1)):
            return 404, {"error": {"code": 404, "message": f"No such object: {words[0]}/{name}"}}
        return 200, self._object(words[0], name, generation)

    def _object(self, bucket: str, name: str, generation: str | None = None) -> dict[str, Any]:
        generations = self.buckets[bucket][name]
        number = int(generation) - 1_000_000 if generation else len(generations)
        content = generations[number - 1]
        return {
            "kind": "storage#object",
            "bucket": bucket,
            "name": name,
            "id": f"{bucket}/{name}/{1_000_000 + number}",
            "generation": str(1_000_000 + number),
            "size": str(len(content)),
            "md5Hash": b64encode(hashlib.md5(content).digest()).decode(),
            "etag": f"etag-{number}-{hashlib.md5(content).hexdigest()[:8]}",
        }


@contextlib.contextmanager
def gcs() -> Iterator[Gcs]:
    """A new GCS without objects."""
    require_module("google.cloud.storage")
    store = Gcs()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = store.answer(self.path)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        store.endpoint = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield store
        finally:
            server.shutdown()
            serving.join()
