"""TensorBoard by torch's SummaryWriter: one `add_scalar` for each value, a file in the training process."""

from __future__ import annotations

from tests.bench.peers.base import DURABILITY, IMAGE, SCALARS, START, Peer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tests.bench.peers.base import Log


class TensorBoard(Peer):
    """See the module's head."""

    name = "TensorBoard"
    title = "TensorBoard: `SummaryWriter.add_scalar` ten times"
    requirement = distribution = "tensorboard"
    calls_share = 0.5
    can = frozenset({DURABILITY, IMAGE, SCALARS, START})

    def open(self, folder: str) -> Log:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(folder)
        add_scalar = self.writer.add_scalar
        step = -1

        def log(data: dict[str, Any]) -> None:
            nonlocal step
            step += 1
            for key, value in data.items():
                add_scalar(key, value, step)

        return log

    def close(self) -> str:
        self.writer.close()
        return ""

    def image(self, pixels: Any) -> None:
        self.writer.add_image("image", pixels, 0, dataformats="HWC")

    @staticmethod
    def rows_in(folder: str) -> int:
        from pathlib import Path

        from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

        values: dict[int, int] = {}
        for file in Path(folder).glob("events.*"):
            for event in LegacyEventFileLoader(str(file)).Load():
                values[event.step] = values.get(event.step, 0) + len(event.summary.value)
        return sum(count >= 10 for count in values.values())
