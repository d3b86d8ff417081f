"""MLflow with asynchronous logging into SQLite, its default store. The empty database is made once for all runs."""

from __future__ import annotations

from tests.bench.peers.base import DURABILITY, IMAGE, SCALARS, START, Peer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tests.bench.peers.base import Log


class MLflow(Peer):
    """See the module's head."""

    name = "MLflow"
    title = "MLflow `log_metrics(synchronous=False)`"
    requirement = distribution = "mlflow"
    calls_share = 0.05  # it stores some tens of rows a second
    can = frozenset({DURABILITY, IMAGE, SCALARS, START})

    def open(self, folder: str) -> Log:
        import os
        import shutil
        import sys

        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        database, template = f"{folder}/mlflow.db", f"{sys.prefix}/empty-mlflow.db"
        if os.path.exists(template):  # noqa: PTH110 - bare Python has not imported pathlib
            shutil.copyfile(template, database)
        import mlflow

        mlflow.set_tracking_uri(f"sqlite:///{database}")
        if mlflow.get_experiment_by_name("bench") is None:
            mlflow.create_experiment("bench", artifact_location=f"file://{folder}/artifacts")
            shutil.copyfile(database, f"{folder}/empty.db")
            shutil.move(f"{folder}/empty.db", template)
        mlflow.set_experiment("bench")
        mlflow.start_run()
        self.mlflow = mlflow
        log_metrics = mlflow.log_metrics
        step = -1

        def log(data: dict[str, Any]) -> None:
            nonlocal step
            step += 1
            log_metrics(data, step=step, synchronous=False)

        return log

    def close(self) -> str:
        self.mlflow.end_run()
        return ""

    def image(self, pixels: Any) -> None:
        self.mlflow.log_image(pixels, key="image", step=0, synchronous=False)

    @staticmethod
    def rows_in(folder: str) -> int:
        import sqlite3

        query = "SELECT count(DISTINCT step) FROM metrics"
        return int(sqlite3.connect(f"{folder}/mlflow.db").execute(query).fetchone()[0])
