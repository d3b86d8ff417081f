"""SwanLab in offline mode: a thread of the training process writes a file, which `swanlab sync` sends later."""

from __future__ import annotations

from tests.bench.peers.base import DURABILITY, IMAGE, SCALARS, START, Peer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tests.bench.peers.base import Log


class SwanLab(Peer):
    """See the module's head."""

    name = "SwanLab"
    title = "`swanlab.log` (offline)"
    requirement = distribution = "swanlab"
    calls_share = 0.5
    can = frozenset({DURABILITY, IMAGE, SCALARS, START})

    def open(self, folder: str) -> Log:
        import swanlab

        self.swanlab = swanlab
        self.run = swanlab.init(project="bench", log_dir=folder, mode="offline")
        return self.run.log

    def close(self) -> str:
        self.swanlab.finish()
        return ""

    def image(self, pixels: Any) -> None:
        self.run.log({"image": self.swanlab.Image(pixels)})

    @staticmethod
    def rows_in(folder: str) -> int:
        from pathlib import Path

        from swanlab.proto.swanlab.record.v1.record_pb2 import Record
        from swanlab.sdk.internal.core_python.store import DataStoreError, DataStoreReader

        values: dict[int, int] = {}
        for file in Path(folder).glob("run-*/run-*.swanlab"):
            reader = DataStoreReader()
            reader.open(file)
            try:
                for data in reader:
                    record = Record()
                    record.ParseFromString(data)
                    if record.HasField("scalar"):
                        values[record.scalar.step] = values.get(record.scalar.step, 0) + 1
            except DataStoreError:  # a torn tail
                pass
        return sum(count >= 10 for count in values.values())
