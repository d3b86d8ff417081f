"""The peers of one benchmark, side by side, each in its process, and the daemon beside them.

A peer that cannot be installed or opened is absent, and one that fails is out from there on; both are told with the
reason, and the others go on.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench import environments
from tests.bench.cpu import Tree, come_to_rest
from tests.bench.environments import AbsentError
from tests.bench.peers import load
from tests.bench.runner import PeerError, Runner
from tests.support.daemon import Daemon


class Session:
    """See the module's head. Use as a context manager: at its end no process of it lives."""

    def __init__(self, names: Sequence[str], folder: Path, pip_arguments: str = "") -> None:
        self.folder = folder
        self.daemon = Daemon(folder / "daemon", f"ipc://{folder}/d.sock", folder / "state", folder / "state" / "spool")
        self.pythons: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self.absent: dict[str, str] = {}
        """Peers without figures, or without those from some scenario on, and why."""
        self.left_out: dict[str, str] = {}
        """"peer, scenario" → why it has no figure there; it goes on with the next scenario."""
        self.runners: dict[str, Runner] = {}
        self.last_words: dict[str, str] = {}
        self._started = 0
        for name in names:
            try:
                self.pythons[name] = environments.interpreter(name, pip_arguments)
                if distribution := load(name).distribution:
                    self.versions[distribution] = environments.version(distribution, self.pythons[name])
            except AbsentError as error:
                self.pythons.pop(name, None)
                self.leave(name, "install", error)

    def __enter__(self) -> Session:
        os.environ.update(self.daemon.environment)
        if "client" in self.pythons:
            self.daemon.start()
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.ExitStack() as ending:
            if "client" in self.pythons:
                ending.callback(self.daemon.end)
            for runner in self.runners.values():
                ending.callback(runner.kill)

    def runner(self, name: str, what: str = "run") -> Runner:
        """A fresh process of a peer, in a folder of its own, not waited for. The caller ends it."""
        self._started += 1
        beside = (self.daemon.pid,) if name == "client" else ()
        return Runner(name, self.pythons[name], self.folder / f"{name}-{what}-{self._started}", beside)

    def open(self) -> None:
        """Starts the process of every peer; they come up beside each other."""
        self.runners = {name: self.runner(name) for name in self.pythons}
        for name, runner in list(self.runners.items()):
            try:
                runner.wait_ready()
            except PeerError as error:
                self.out(name, "open", error)

    def turns(self, rounds: int, what: str, can: str = "") -> Iterator[tuple[int, Callable[..., Any]]]:
        """For each round and peer, after all have come to rest: the round, and `take(call)`, which gives call(runner).

        Who begins changes with every round. `take` answers None for a peer that fails: it is left out of the rounds to
        come, and of everything if its process is gone.
        """
        failed: set[str] = set()
        for number in range(rounds):
            names = [name for name in self.runners if name not in failed and (not can or can in load(name).can)]
            first = number % max(1, len(names))
            for name in names[first:] + names[:first]:
                self.rest()

                def take(call: Callable[[Runner], Any], name: str = name) -> Any:
                    try:
                        return call(self.runners[name])
                    except PeerError as error:
                        failed.add(name)
                        if self.runners[name].process.poll() is None:
                            self.left_out[f"{name}, {what}"] = str(error)
                            print(f"{name} is left out of {what}: {error}", flush=True)
                        else:
                            self.out(name, what, error)
                        return None

                yield number, take

    def rest(self, window_s: float = 0.1, deadline_s: float = 5.0) -> bool:
        """Waits until no peer works off anything any more."""
        return come_to_rest(self.trees(), window_s, deadline_s=deadline_s)

    def trees(self) -> list[Tree]:
        """Of all open peers; the daemon's is in the client's."""
        return [runner.tree for runner in self.runners.values()]

    def out(self, name: str, what: str, error: Exception) -> None:
        """An open peer failed: it is out."""
        self.leave(name, what, error)
        self.runners.pop(name).kill()

    def leave(self, name: str, what: str, error: Exception | str) -> None:
        """Note why a peer has no figure in `what`, and all that comes after it."""
        self.absent[name] = f"{what}: {error}"
        print(f"{name} is out ({what}): {error}", flush=True)

    def close(self) -> None:
        """Finishes every open peer and keeps what it said of its rows."""
        for name, runner in list(self.runners.items()):
            try:
                runner.finish()
                self.last_words[name] = runner.last_word
            except PeerError as error:
                self.out(name, "close", error)
                continue
            self.runners.pop(name).kill()
