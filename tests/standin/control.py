"""The control API: what tests and people ask of the stand-in, and order it to do.

`GET /_control/NAME?argument=value`, or `POST /_control/NAME` with the arguments as a JSON object; answers are JSON.
`GET /_control/` lists the names. `run` is "entity/project/id",
or the id alone where it is unique. Errors are 400 or 404
with {"error": what to do}. The Python side is client.Standin.
"""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

from .runs import EVENTS, HISTORY, OUTPUT, Runs, output_line
from .store import Doc

if TYPE_CHECKING:
    from .server import Server


class Control:
    """Every public method but answer() is a name of the API, its parameters the arguments."""

    def __init__(self, server: Server):
        self._server = server

    def answer(self, path: list[str], query: dict[str, str], body: bytes) -> tuple[Any, int]:
        """(answer, HTTP status) of one request."""
        name = "/".join(path)
        known = {n: m for n, m in inspect.getmembers(self, inspect.ismethod) if n[0] != "_" and n != "answer"}
        if not name:
            return {n: str(inspect.signature(m)) for n, m in known.items()}, 200
        if name not in known:
            return {"error": f"unknown control {name!r}; choose one of {', '.join(known)}"}, 404
        try:
            return known[name](**{**query, **(json.loads(body) if body else {})}), 200
        except LookupError as error:
            return {"error": str(error)}, 404
        except (TypeError, ValueError) as error:
            return {"error": str(error)}, 400

    # what is there

    def run(self, run: str) -> Doc:
        """The run's document, with its state as W&B shows it."""
        doc = self._run(run)
        return {**doc, "state": self._server.runs.state(doc)}

    def runs(self) -> list[Doc]:
        """Every run's document."""
        return [{**doc, "state": self._server.runs.state(doc)} for doc in self._server.store.all("run")]

    def rows(self, run: str) -> list[Doc]:
        """The history, in order of offset."""
        return self._server.runs.rows(self._run(run)["key"])

    def row_count(self, run: str) -> int:
        """How many rows there are, cheaply."""
        return self._server.store.line_total(self._run(run)["key"], HISTORY)

    def events(self, run: str) -> list[Doc]:
        """The system metrics, in order of offset."""
        return self._server.runs.rows(self._run(run)["key"], EVENTS)

    def lines(self, run: str, stream: str) -> list[list[Any]]:
        """[offset, text] of any stream of the run, as they came."""
        return [list(line) for line in self._server.store.lines(self._run(run)["key"], stream)]

    def outputs(self, run: str) -> list[str]:
        """The console's lines, without their time stamps."""
        lines = self._server.store.lines(self._run(run)["key"], OUTPUT)
        return [output_line(text)["content"] for _, text in lines]

    def files(self, run: str) -> dict[str, Doc]:
        """The run's uploaded files: name → size, md5, url."""
        doc, base = self._run(run), self._server.control_url
        return {
            name: {**about, "url": self._server.files.url(base, doc["key"], name)}
            for name, about in doc["files"].items()
        }

    def artifacts(self) -> list[Doc]:
        """Every artifact with its collection, version number, aliases and manifest."""
        found = []
        for doc in self._server.store.all("artifact"):
            sequence = self._server.store.get("collection", doc["collection"]) or {"members": [], "aliases": {}}
            place = sequence["members"].index(doc["id"]) if doc["id"] in sequence["members"] else None
            aliases = sorted(alias for alias, at in sequence["aliases"].items() if at == place)
            manifest = self._server.artifacts.manifest(doc) or {"contents": {}}
            found.append({**doc, "version": place, "aliases": aliases, "contents": manifest["contents"]})
        return found

    def collections(self) -> list[Doc]:
        """Every artifact collection."""
        return self._server.store.all("collection")

    def sweeps(self) -> list[Doc]:
        """Every sweep."""
        return self._server.store.all("sweep")

    def requests(self, place: str = "", run: str = "") -> list[Doc]:
        """The requests that came, oldest first, of one place ("file_stream", "graphql:UpsertBucket" …) and run."""
        found = [r for r in list(self._server.requests) if not place or r["place"].startswith(place)]
        return [r for r in found if not run or run in (r["run"], r["run"].rsplit("/", 1)[-1])]

    def unknown_operations(self) -> dict[str, int]:
        """What somebody asked and nobody answered, with how often."""
        return dict(self._server.unknown)

    def stats(self) -> Doc:
        """Addresses and counts."""
        server = self._server
        return {"url": server.url, "control_url": server.control_url, "requests": server.requests_total,
                "connections": server.listener.connections, "changes": server.store.changes,
                "state_dir": str(server.store.directory)}  # fmt: skip

    def changes(self, since: int = 0, timeout_s: float = 0) -> int:
        """Wait for more changes than `since`; how many there have been."""
        return self._server.store.wait(int(since), float(timeout_s))

    # what shall be

    def fault(self, where: str, kind: str, **options: Any) -> int:
        """Give an order to fail (see faults); its id."""
        return self._server.faults.add(where, kind, **options).id

    def faults(self) -> list[Doc]:
        """The orders in force with their hits."""
        return self._server.faults.list()

    def clear(self, where: str = "", id: int = 0) -> bool:
        """Withdraw orders to fail."""
        self._server.faults.clear(where, int(id))
        return True

    def down(self) -> bool:
        """Refuse connections on W&B's port and cut those there are."""
        self._server.listener.down()
        return True

    def up(self) -> bool:
        """Listen again, on the same port."""
        self._server.listener.up()
        return True

    def cut(self) -> bool:
        """Cut the connections there are, and take new ones."""
        self._server.listener.cut()
        return True

    def request_stop(self, run: str) -> bool:
        """Press the web page's stop button."""
        self._server.runs.save({**self._run(run), "stop_requested": True})
        return True

    def accept_keys(self, keys: list[str] | None = None) -> bool:
        """Accept these API keys only; None: any."""
        self._server.keys = keys
        return True

    def features(self, names: list[str]) -> bool:
        """Have these server features, and no other."""
        self._server.schema.features = names
        return True

    def crashed_after(self, seconds: float) -> bool:
        """Call a run crashed that has been silent for so long."""
        self._server.runs.crashed_after_s = float(seconds)
        return True

    def _run(self, name: str) -> Doc:
        runs: Runs = self._server.runs
        doc = runs.find(name)
        if doc is None:
            known = ", ".join(d["key"] for d in self._server.store.all("run")[-10:])
            raise LookupError(f"no run {name!r}; there are: {known or 'none'}")
        return doc
