"""neptune-scale in offline mode: an SQLite file in the training process, which `neptune sync` sends later."""

from __future__ import annotations

from tests.bench.peers.base import DURABILITY, SCALARS, START, Peer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tests.bench.peers.base import Log

METRICS_OPERATION = 0
"""`operation_type` of a row of metrics in run_operations."""


class Neptune(Peer):
    """See the module's head."""

    name = "neptune-scale"
    title = "neptune-scale `log_metrics` (offline)"
    requirement = distribution = "neptune-scale"
    calls_share = 0.5
    can = frozenset({DURABILITY, SCALARS, START})

    def open(self, folder: str) -> Log:
        import logging

        from neptune_scale import Run

        logging.getLogger("neptune").setLevel(logging.ERROR)
        self.run = Run(
            run_id="bench", project="bench/bench", mode="offline", log_directory=folder,
            enable_console_log_capture=False,
        )  # fmt: skip
        log_metrics = self.run.log_metrics
        step = -1

        def log(data: dict[str, Any]) -> None:
            nonlocal step
            step += 1
            log_metrics(data, step)

        return log

    def close(self) -> str:
        self.run.close()
        return ""

    @staticmethod
    def rows_in(folder: str) -> int:
        import sqlite3
        from pathlib import Path

        (file,) = Path(folder).glob("*/run_operations.sqlite3")
        query = "SELECT count(*) FROM run_operations WHERE operation_type = ?"
        return int(sqlite3.connect(file).execute(query, (METRICS_OPERATION,)).fetchone()[0])
