"""What is compared: each peer takes the same calls. A further peer is a class here and a line in PEERS.

A peer lives in a process of its own, so neither its threads nor its imports weigh on another's numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

Log = Callable[[dict[str, float]], Any]


class Peer(Protocol):
    """One way to log a row."""

    title: str

    def open(self, folder: Path) -> Log:
        """Gets ready, leaving all files in `folder`, and returns the call that is measured."""

    def close(self) -> str:
        """Ends; one line about what became of the rows, empty when there is nothing to say."""


class NoOp:
    """A call that does nothing: what the measurement itself costs."""

    title = "a call that does nothing"

    def open(self, folder: Path) -> Log:
        def log(data: dict[str, float]) -> None:
            return None

        return log

    def close(self) -> str:
        return ""


class Encode:
    """msgspec's encoding of the row alone: what cannot be saved as long as rows are encoded by the caller."""

    title = "msgspec encode alone"

    def open(self, folder: Path) -> Log:
        encode = msgspec.msgpack.Encoder().encode
        return lambda data: encode(data)

    def close(self) -> str:
        return ""


class Client:
    """telemetryd's client; the daemon is a process of its own, as in real life."""

    title = "telemetryd `client.log`"

    def open(self, folder: Path) -> Log:
        import client

        self.run = client.init(project="bench", dir=str(folder), mode="offline")
        return self.run.log

    def close(self) -> str:
        report = self.run.finish(quiet=True, timeout_s=300)
        dropped = sum(report.dropped.values())
        return (
            f"{report.offered} rows offered, {report.delivered} delivered, {dropped} dropped, {report.pending} pending"
        )


class Wandb:
    """wandb itself, offline: the same rows into the same kind of file."""

    title = "`wandb.log` (offline)"

    def open(self, folder: Path) -> Log:
        os.environ["WANDB_SILENT"] = "true"
        import wandb

        self.run = wandb.init(project="bench", dir=str(folder), mode="offline", settings=wandb.Settings(console="off"))
        return self.run.log

    def close(self) -> str:
        self.run.finish()
        return ""


PEERS: dict[str, Callable[[], Peer]] = {"noop": NoOp, "encode": Encode, "client": Client, "wandb": Wandb}
