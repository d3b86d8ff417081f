"""What a run worker and its supervisor say to each other over two pipes.

Worker → supervisor: reports, each a msgpack map behind its length as u32le. Supervisor → worker: orders, in the same
form. Only the supervisor's process writes to the inbox: a worker reads it and reports how far it has come, so a worker
that hangs or dies holds no lock and loses nothing (an older position only means that more is replayed).

A closed order pipe means that the supervisor is gone: the worker stops where it is, without finishing the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from telemetryd.pipe_frames import Cutter, framed

REPORT_MAX_BYTES = 64 << 20
"""A snapshot holds at most the late rows that wait for a free step, whose bytes are capped far below this."""


class _Frame(msgspec.Struct, tag_field="k", omit_defaults=True):
    pass


class Started(_Frame, tag="started"):
    """wandb has the run. `directory` is the run's own folder (…/wandb/offline-run-…); `starting_step` the first step
    that W&B does not have yet."""

    directory: str
    mode: str
    url: str | None = None
    name: str | None = None
    entity: str | None = None
    project: str | None = None
    resumed: bool = False
    starting_step: int = 0
    core_pid: int | None = None


class Progress(_Frame, tag="progress"):
    """Everything up to batch `cursor` is confirmed to be in W&B (or its .wandb file).

    `snapshot` is the row assembly's state just after that batch; it and the cursor are stored together. `delivered`
    counts `log` calls confirmed and `dropped` those lost by reason, since the run began, as of now (not of the
    cursor). `late` counts late rows kept. `ranks` are the figures of a distributed run's ranks (ranks.py).
    `step` is the newest step that was seen.
    `media_lost` counts media values lost by reason, of rows that were delivered without them.
    `newest` are some plain values of the newest row, for people to look at.
    """

    cursor: int
    snapshot: bytes
    delivered: int
    dropped: dict[str, int] = {}
    late: int = 0
    ranks: dict[str, Any] = {}
    step: int | None = None
    media_lost: dict[str, int] = {}
    newest: dict[str, float | str] = {}


class Sampled(_Frame, tag="sampled"):
    """Since the report before: samples of the machine that went into the System panel, and those that could not."""

    published: int = 0
    dropped: int = 0


class LossSeen(_Frame, tag="loss"):
    """A metric that stands for the loss is not finite at this step, or is again."""

    name: str
    step: int
    value: float


REWIND = "rewind"
"""The reason of the Trouble with which a worker ends because the next one is to rewind the run: nothing has failed."""


class Trouble(_Frame, tag="trouble"):
    """Delivery does not go on by itself. `permanent` False: the worker tries again; True: somebody must act."""

    reason: str
    message: str
    permanent: bool = False


class Recovered(_Frame, tag="recovered"):
    """The trouble reported before is over."""


class Notice(_Frame, tag="notice"):
    """Something that a person should hear of, and that costs no delivery; `kind` is an event's."""

    kind: str
    message: str


class StopRequested(_Frame, tag="stop_requested"):
    """Somebody pressed W&B's stop button. The run goes on until training ends it."""


class ArtifactState(_Frame, tag="artifact"):
    """How an artifact stands: "uploading" when an upload is begun, "committed", "recorded" or "failed" at its end.

    `info` is what W&B says of the version. Said again and again while an upload lasts, to show that the worker lives.
    """

    session: str
    id: str
    state: str
    error: str | None = None
    info: dict[str, Any] | None = None


class Finished(_Frame, tag="finished"):
    """wandb's run is finished with this exit code and everything of it is confirmed. The worker exits next."""

    exit_code: int


class Wake(_Frame, tag="wake"):
    """The inbox has something new for this run."""


class Finish(_Frame, tag="finish"):
    """Deliver everything up to batch `last`, then finish the run with this exit code."""

    exit_code: int
    last: int


class Samples(_Frame, tag="samples"):
    """Values for the run's System panel, by W&B's keys without "system.", taken at one moment. No rows: what cannot be
    published is counted and gone."""

    time_ns: int
    values: dict[str, float]


class Stop(_Frame, tag="stop"):
    """Deliver what can be delivered within `within_s`, then exit without finishing the run."""

    within_s: float


Report = (
    Started | Progress | Sampled | LossSeen | Notice | Trouble | Recovered | StopRequested | ArtifactState | Finished
)
Order = Wake | Finish | Samples | Stop

_encoder = msgspec.msgpack.Encoder()
_reports = msgspec.msgpack.Decoder(Report)
_orders = msgspec.msgpack.Decoder(Order)


def pack(frame: Report | Order) -> bytes:
    """A report or order as it goes through the pipe."""
    return framed(_encoder.encode(frame))


class Unpacker:
    """Cuts what a pipe brings, in pieces of any size, into frames. One Unpacker per pipe."""

    def __init__(self) -> None:
        self._cutter = Cutter("a worker's pipe", REPORT_MAX_BYTES)

    def reports(self, data: bytes) -> Iterator[Report]:
        """Frames from a worker. Raises ValueError on bytes that are none."""
        for body in self._cutter.bodies(data):
            yield _reports.decode(body)

    def orders(self, data: bytes) -> Iterator[Order]:
        """Frames from the supervisor. Raises ValueError on bytes that are none."""
        for body in self._cutter.bodies(data):
            yield _orders.decode(body)
