"""class Standin: the control API from Python, for a stand-in in this process or in another."""

# What comes is JSON: its shape is the control API's promise, not the type checker's.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from . import limits

T = TypeVar("T")
Doc = dict[str, Any]


class StandinError(Exception):
    """The stand-in refused a control request; the message says why."""


class Standin:
    """A running stand-in. `url` is for WANDB_BASE_URL; `run` is "entity/project/id", or the id alone if unique.

    Places of faults: "*", "graphql", "graphql:OPERATION", "file_stream", "upload", "upload:run", "upload:artifact",
    "download". Fault options: times (None for ever), skip (let so many pass first), run. Each returns the fault's id.
    """

    def __init__(self, url: str, control_url: str):
        self.url = url
        self.control_url = control_url

    def ask(self, name: str, **arguments: Any) -> Any:
        """One control request. Raises StandinError, and OSError when nobody answers."""
        parts = urlsplit(self.control_url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=limits.CONTROL_TIMEOUT_S)
        try:
            connection.request("POST", f"/_control/{name}", json.dumps(arguments))
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise StandinError(answer.get("error"))
        return answer

    def environment(self, key: str = "0123456789" * 4) -> dict[str, str]:
        """What a process needs to take this stand-in for W&B."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": key, "WANDB_MODE": "online"}

    def wait_for(self, condition: Callable[[Standin], T], timeout_s: float, what: str = "") -> T:
        """The first true result of the condition, looked at after each change. Raises AssertionError when late."""
        deadline = time.monotonic() + timeout_s
        while True:
            seen = self.ask("changes")
            try:
                if result := condition(self):
                    return result
            except StandinError:
                pass  # a run that is not there yet
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"not within {timeout_s:g} s: {what or condition}")
            self.ask("changes", since=seen, timeout_s=min(left, 0.5))

    # what is there

    def run(self, run: str) -> Doc:
        """The run's document: state, exit_code, config, summary, tags, notes, group, host, upserts, resumes …"""
        return self.ask("run", run=run)

    def runs(self) -> list[Doc]:
        """Every run's document, oldest first."""
        return self.ask("runs")

    def rows(self, run: str) -> list[Doc]:
        """The history."""
        return self.ask("rows", run=run)

    def row_count(self, run: str) -> int:
        """How many rows, without fetching them."""
        return self.ask("row_count", run=run)

    def events(self, run: str) -> list[Doc]:
        """The system metrics."""
        return self.ask("events", run=run)

    def outputs(self, run: str) -> list[str]:
        """The console's lines."""
        return self.ask("outputs", run=run)

    def files(self, run: str) -> dict[str, Doc]:
        """Uploaded files: name → size, md5 (base64), url, uploads."""
        return self.ask("files", run=run)

    def read_file(self, run: str, name: str) -> bytes:
        """An uploaded file's content. Raises KeyError."""
        return self._get(self.files(run)[name]["url"])

    def artifacts(self) -> list[Doc]:
        """Artifacts: name, type, state, version, aliases, digest, metadata, contents (the manifest's), used_by, clients
        (the client ids it was made with) …"""
        return self.ask("artifacts")

    def collections(self) -> list[Doc]:
        """Artifact collections: key, type, typename, members, aliases."""
        return self.ask("collections")

    def sweeps(self) -> list[Doc]:
        """Sweeps: name, state, config, drawn."""
        return self.ask("sweeps")

    def alerts(self, run: str) -> list[Doc]:
        """Alerts: title, text, severity, waitDuration (ms)."""
        return self.run(run)["alerts"]

    def exit_code(self, run: str) -> int | None:
        """None while it runs."""
        return self.run(run)["exit_code"]

    def state(self, run: str) -> str:
        """running, finished, failed, crashed, preempting, preempted, pending."""
        return self.run(run)["state"]

    def config(self, run: str) -> Doc:
        """The config as the user sees it: plain values, without wandb's own key."""
        return {name: item.get("value") for name, item in self.run(run)["config"].items() if name != "_wandb"}

    def summary(self, run: str) -> Doc:
        """The summary."""
        return self.run(run)["summary"]

    def metadata(self, run: str) -> Doc:
        """wandb-metadata.json as uploaded."""
        return json.loads(self.read_file(run, "wandb-metadata.json"))

    def requests(self, place: str = "", run: str = "") -> list[Doc]:
        """Requests that came: n, at, method, path, place, run, fault, status."""
        return self.ask("requests", place=place, run=run)

    def unknown_operations(self) -> dict[str, int]:
        """What the stand-in could not answer; empty for what it supports."""
        return self.ask("unknown_operations")

    # what shall go wrong

    def fail(self, where: str, *, status: int = 500, **options: Any) -> int:
        """Answer with an HTTP status. Option retry_after_s sets the header."""
        return self.ask("fault", where=where, kind="status", status=status, **options)

    def graphql_error(self, operation: str = "", *, message: str = "refused", **options: Any) -> int:
        """Answer 200 with a GraphQL error."""
        where = f"graphql:{operation}" if operation else "graphql"
        return self.ask("fault", where=where, kind="graphql_error", message=message, **options)

    def garbage(self, where: str, **options: Any) -> int:
        """Answer 200 with bytes that mean nothing."""
        return self.ask("fault", where=where, kind="garbage", **options)

    def hang(self, where: str, *, seconds: float | None = None, after: bool = False, **options: Any) -> int:
        """Never answer, until cleared or for `seconds`; with `after`, apply the request first."""
        return self.ask("fault", where=where, kind="hang", seconds=seconds, after=after, **options)

    def slow(self, where: str, seconds: float, **options: Any) -> int:
        """Answer late."""
        return self.ask("fault", where=where, kind="slow", seconds=seconds, **options)

    def drop_before(self, where: str, **options: Any) -> int:
        """Reset the connection, the request not applied."""
        return self.ask("fault", where=where, kind="drop_before", **options)

    def drop_after(self, where: str, **options: Any) -> int:
        """Apply the request, then reset the connection: a lost answer."""
        return self.ask("fault", where=where, kind="drop_after", **options)

    def faults(self) -> list[Doc]:
        """Faults in force, with their hits."""
        return self.ask("faults")

    def hits(self, fault: int) -> int:
        """How many requests a fault has taken."""
        return next(f["hits"] for f in self.faults() if f["id"] == fault)

    def clear(self, where: str = "", id: int = 0) -> None:
        """No faults any more: all, those of a place, or one. Requests that hang are let go (their connection ends)."""
        self.ask("clear", where=where, id=id)

    def down(self) -> None:
        """Refuse connections, cut those there are; the control API goes on."""
        self.ask("down")

    def up(self) -> None:
        """Listen again on the same port."""
        self.ask("up")

    def cut(self) -> None:
        """Cut the connections there are."""
        self.ask("cut")

    def request_stop(self, run: str) -> None:
        """The web page's stop button."""
        self.ask("request_stop", run=run)

    def accept_keys(self, keys: list[str] | None) -> None:
        """Answer 401 to every other key; None: accept any."""
        self.ask("accept_keys", keys=keys)

    def crashed_after(self, seconds: float) -> None:
        """How long a run may be silent before it reads as crashed."""
        self.ask("crashed_after", seconds=seconds)

    def _get(self, url: str) -> bytes:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=limits.CONTROL_TIMEOUT_S)
        try:
            connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""))
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise KeyError(url)
        return body
