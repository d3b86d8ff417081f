"""wandb itself, offline: the same rows into the same kind of file."""

from __future__ import annotations

from tests.bench.peers.base import ARTIFACT, DURABILITY, GROWTH, IMAGE, SCALARS, START, STOPPED, Peer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tests.bench.peers.base import Log


def rows_in_files(folder: str) -> int:
    """History rows in the .wandb files of `folder`."""
    from pathlib import Path

    from telemetryd.runs.wandb_file import history_steps

    return sum(len(history_steps(path)) for path in Path(folder).glob("wandb/*run-*/run-*.wandb"))


class Wandb(Peer):
    """See the module's head."""

    name = "wandb"
    title = "`wandb.log` (offline)"
    distribution = "wandb"
    can = frozenset({IMAGE, ARTIFACT, DURABILITY, STOPPED, SCALARS, START, GROWTH})

    def open(self, folder: str) -> Log:
        import os

        os.environ["WANDB_SILENT"] = "true"
        for kind in ("DATA", "CACHE", "CONFIG"):
            os.environ[f"WANDB_{kind}_DIR"] = f"{folder}/{kind.lower()}"
        import wandb

        self.wandb = wandb
        self.run = wandb.init(project="bench", dir=folder, mode="offline", settings=wandb.Settings(console="off"))
        return self.run.log

    def close(self) -> str:
        self.run.finish()
        return ""

    def image(self, pixels: Any) -> None:
        self.run.log({"image": self.wandb.Image(pixels)})

    def artifact(self, path: str, name: str) -> None:
        artifact = self.wandb.Artifact(name, "model")
        artifact.add_file(path)
        self.run.log_artifact(artifact)

    @staticmethod
    def rows_in(folder: str) -> int:
        return rows_in_files(folder)
