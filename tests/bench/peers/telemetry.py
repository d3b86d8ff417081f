"""telemetryd's client; the daemon is a process of its own, as in real life."""

from __future__ import annotations

from tests.bench.peers.base import ARTIFACT, DURABILITY, GROWTH, IMAGE, SCALARS, START, STOPPED, Peer
from tests.bench.peers.weights import rows_in_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tests.bench.peers.base import Log

FINISH_TIMEOUT_S = 300


class Client(Peer):
    """See the module's head."""

    name = "telemetryd"
    title = "telemetryd `client.log`"
    distribution = "telemetryd"
    can = frozenset({IMAGE, ARTIFACT, DURABILITY, STOPPED, SCALARS, START, GROWTH})

    def open(self, folder: str) -> Log:
        import client

        self.client = client
        self.run = client.init(project="bench", dir=folder, mode="offline")
        return self.run.log

    def close(self) -> str:
        report = self.run.finish(quiet=True, timeout_s=FINISH_TIMEOUT_S)
        dropped = sum(report.dropped.values())
        return (
            f"{report.offered} rows offered, {report.delivered} delivered, {dropped} dropped, {report.pending} pending"
        )

    def image(self, pixels: Any) -> None:
        self.run.log({"image": self.client.Image(pixels)})

    def artifact(self, path: str, name: str) -> None:
        artifact = self.client.Artifact(name, "model")
        artifact.add_file(path)
        self.run.log_artifact(artifact)

    @staticmethod
    def rows_in(folder: str) -> int:
        return rows_in_files(folder)
