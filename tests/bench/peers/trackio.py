"""trackio without a Space: a thread of the training process writes to SQLite."""

from __future__ import annotations

from tests.bench.peers.base import DURABILITY, IMAGE, SCALARS, START, Peer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tests.bench.peers.base import Log


class Trackio(Peer):
    """See the module's head."""

    name = "trackio"
    title = "`trackio.log` (local)"
    requirement = distribution = "trackio"
    calls_share = 0.5
    can = frozenset({DURABILITY, IMAGE, SCALARS, START})

    def open(self, folder: str) -> Log:
        import os

        os.environ["TRACKIO_DIR"] = folder
        os.environ["HF_HUB_OFFLINE"] = "1"
        import trackio

        self.trackio = trackio
        self.run = trackio.init(project="bench", name="bench", embed=False, auto_log_gpu=False, auto_log_cpu=False)
        return self.run.log

    def close(self) -> str:
        self.trackio.finish()
        return ""

    def image(self, pixels: Any) -> None:
        self.run.log({"image": self.trackio.Image(pixels)})

    @staticmethod
    def rows_in(folder: str) -> int:
        import os
        import sqlite3

        database = f"{folder}/bench.db"
        if not os.path.exists(database):  # noqa: PTH110 - as in mlflow.py
            return 0
        try:
            return int(sqlite3.connect(database).execute("SELECT count(*) FROM metrics").fetchone()[0])
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            return 0
