"""W&B's server, asked directly: what it has of a run, and whose key this is.

wandb-core uploads; nothing in it tells what arrived. So the run's line count is asked for over GraphQL, with the same
question that wandb-core asks when it resumes a run. Standard library only: like wandb-core it follows HTTP(S)_PROXY and
SSL_CERT_FILE (authorities.py). The key goes into a header and nowhere else.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from telemetryd.runs import authorities
from telemetryd.runs.errors import ServerRefusedError, ServerSilentError, ServerUnsuitedError
from telemetryd.runs.limits import ANSWER_MAX_BYTES, ASK_TIMEOUT_S

FINAL = {
    400: "the request was not understood: is WANDB_BASE_URL the address of a W&B server?",
    401: "the API key is not accepted: give the daemon a valid one with `telemetryd login`",
    403: "the key's user may not write there: check the run's entity and project, or ask for write access",
    404: "there is no such run, project or entity: was it deleted, is WANDB_BASE_URL right?",
    409: "another writer has the run: end it, or log under another id",
    410: "the run was deleted: log under another id",
    413: "a request was too large for the server or a proxy before it",
    422: "the server cannot process the run",
    501: "the server does not support it: is WANDB_BASE_URL the address of a W&B server?",
}
"""HTTP statuses that wandb-core takes for final, and what each means here."""

_RUN = """query TelemetrydRun($entity: String, $project: String!, $run: String!) {
  model(name: $project, entityName: $entity) {
    bucket(name: $run, missingOk: true) { id historyLineCount historyTail summaryMetrics }
  }
}"""
_LINES = """query TelemetrydLines($entity: String, $project: String!, $run: String!) {
  model(name: $project, entityName: $entity) { bucket(name: $run, missingOk: true) { historyLineCount } }
}"""
_FILES = """query TelemetrydFiles(
  $entity: String, $project: String!, $run: String!, $names: [String], $count: Int
) {
  model(name: $project, entityName: $entity) {
    bucket(name: $run, missingOk: true) { files(names: $names, first: $count) { edges { node { name sizeBytes } } } }
  }
}"""
_VIEWER = "query TelemetrydViewer { viewer { entity username } }"
_SET_SUMMARY = """mutation TelemetrydSummary($id: String!, $summary: JSONString!) {
  upsertBucket(input: {id: $id, summaryMetrics: $summary}) { bucket { id } }
}"""


@dataclass(frozen=True)
class RunName:
    """A run as W&B knows it; `entity` None is the key's own."""

    entity: str | None
    project: str
    run: str


@dataclass(frozen=True)
class RunFacts:
    """What the server has of a run. `last_step` is its last row's, None without rows."""

    storage_id: str
    lines: int
    last_step: int | None
    summary: dict[str, Any]

    @property
    def summary_step(self) -> int | None:
        """The step that the summary speaks of."""
        step = self.summary.get("_step")
        return int(step) if isinstance(step, int | float) else None


def refusal(status: int, url: str, source: str = "") -> str:
    """The sentence about an HTTP status that is final; `source` says where the key comes from."""
    what = FINAL.get(status, "the request is refused")
    origin = f" (the key is from {source})" if source and status in (401, 403) else ""
    return f"W&B at {url} answers {status}: {what}{origin}"


class Server:
    """One W&B server with one key. Thread-safe: each question has a connection of its own."""

    def __init__(self, url: str, key: str, source: str = "", *, timeout_s: float = ASK_TIMEOUT_S) -> None:
        """`source` says where the key comes from."""
        self.url = url.rstrip("/")
        self.source = source
        self._timeout_s = timeout_s
        token = base64.b64encode(f"api:{key}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json", **_extra_headers()}
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=_tls()), _NoRedirect(), urllib.request.ProxyHandler()
        )

    def viewer(self) -> str:
        """The user of the key. Raises ServerError; ServerRefusedError(401) when the key is nobody's."""
        found = self.ask(_VIEWER, {}).get("viewer")
        if not isinstance(found, dict):
            raise ServerRefusedError(401, refusal(401, self.url, self.source))
        return str(found.get("username") or found.get("entity") or "?")

    def run(self, name: RunName) -> RunFacts | None:
        """What the server has of a run; None when it does not know it. Raises ServerError."""
        bucket = self._bucket(_RUN, name)
        if bucket is None:
            return None
        try:
            tail = [json.loads(line) for line in json.loads(bucket.get("historyTail") or "[]")]
            steps = [int(row["_step"]) for row in tail if isinstance(row, dict) and "_step" in row]
            summary = json.loads(bucket.get("summaryMetrics") or "{}")
            lines = int(bucket["historyLineCount"] or 0)
        except (KeyError, TypeError, ValueError) as error:
            raise ServerUnsuitedError(f"{self.url} describes the run in a form of its own: {error}") from error
        return RunFacts(
            str(bucket.get("id")), lines, max(steps, default=None), summary if isinstance(summary, dict) else {}
        )

    def lines(self, name: RunName) -> int:
        """How many rows the server has of a run. Raises ServerError."""
        bucket = self._bucket(_LINES, name)
        if bucket is None:
            raise ServerRefusedError(404, refusal(404, self.url))
        try:
            return int(bucket["historyLineCount"] or 0)
        except (KeyError, TypeError, ValueError) as error:
            raise ServerUnsuitedError(f"{self.url} does not tell a run's line count: {error}") from error

    def file_sizes(self, name: RunName, names: list[str]) -> dict[str, int]:
        """Which of these files the server has of a run, with their bytes. Raises ServerError."""
        bucket = self._bucket(_FILES, name, names=names, count=len(names))
        try:
            nodes = [edge["node"] for edge in bucket["files"]["edges"]] if bucket is not None else []
            return {str(node["name"]): int(node["sizeBytes"]) for node in nodes}
        except (KeyError, TypeError, ValueError) as error:
            raise ServerUnsuitedError(f"{self.url} lists files in a form of its own: {error}") from error

    def put_lines(self, name: RunName, offset: int, lines: list[str]) -> None:
        """Put rows, as JSON, at and behind a line of the run's history, as wandb-core does. Raises ServerError."""
        path = "/".join(quote(part or "", safe="") for part in (name.entity, name.project, name.run))
        chunk = {"files": {"wandb-history.jsonl": {"offset": offset, "content": lines}}}
        self._post(f"/files/{path}/file_stream", chunk)

    def set_summary(self, storage_id: str, summary: dict[str, Any]) -> None:
        """Replace a run's summary. Raises ServerError."""
        self.ask(_SET_SUMMARY, {"id": storage_id, "summary": json.dumps(summary)})

    def _bucket(self, query: str, name: RunName, **more: Any) -> dict[str, Any] | None:
        data = self.ask(query, {"entity": name.entity, "project": name.project, "run": name.run, **more})
        model = data.get("model")
        bucket = model.get("bucket") if isinstance(model, dict) else None
        return bucket if isinstance(bucket, dict) else None

    def ask(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The data that a GraphQL question is answered with. Raises ServerError."""
        answer = self._post("/graphql", {"query": query, "variables": variables})
        if answer.get("errors"):
            raise ServerUnsuitedError(f"W&B at {self.url} does not answer the question: {str(answer['errors'])[:300]}")
        data = answer.get("data")
        return data if isinstance(data, dict) else {}

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode(), self._headers)
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                answer = json.loads(response.read(ANSWER_MAX_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                status, said = error.code, _told(error)
            if status in FINAL:
                raise ServerRefusedError(status, refusal(status, self.url, self.source), said) from None
            raise ServerSilentError(f"W&B at {self.url} answers {status}") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise ServerSilentError(_untrusted(self.url, reason)) from None
            raise ServerSilentError(f"W&B at {self.url} does not answer ({reason})") from None
        except ValueError:
            raise ServerSilentError(f"W&B at {self.url} answers what cannot be understood") from None
        if not isinstance(answer, dict):
            raise ServerSilentError(f"W&B at {self.url} answers what cannot be understood")
        return answer


def _untrusted(url: str, reason: ssl.SSLCertVerificationError) -> str:
    """The sentence about a certificate that is not accepted; it may be mended on either side."""
    return (
        f"W&B at {url} does not answer with a certificate that this machine trusts ({reason.verify_message}): start the"
        " daemon with SSL_CERT_FILE naming the file of its authority, or check WANDB_BASE_URL"
    )


def _told(error: urllib.error.HTTPError) -> str:
    """What the body of a refusal says; empty where it says nothing that can be understood."""
    try:
        answer = json.loads(error.read(ANSWER_MAX_BYTES))
        return "; ".join(str(one["message"]) for one in answer["errors"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key goes to the server that was named and to no other."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """None: the redirect is an answer."""


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    bundle = authorities.bundle(os.environ)
    if bundle is not None and not os.environ.get("SSL_CERT_FILE"):
        is_folder = bundle.is_dir()
        with contextlib.suppress(OSError):  # a file that is not there trusts nobody
            context.load_verify_locations(None if is_folder else bundle, bundle if is_folder else None)
    if os.environ.get("WANDB_INSECURE_DISABLE_SSL", "").lower() in ("1", "true", "yes", "on"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _extra_headers() -> dict[str, str]:
    """What WANDB_X_EXTRA_HTTP_HEADERS adds to each of wandb's requests, a JSON object."""
    try:
        given = json.loads(os.environ.get("WANDB_X_EXTRA_HTTP_HEADERS") or "{}")
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in given.items()} if isinstance(given, dict) else {}
