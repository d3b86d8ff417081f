"""What the sampling process and the daemon say to each other over two pipes: msgpack maps behind their length as u32le.

    sampler → daemon   Devices, Reading, Event, Condition, Beat       daemon → sampler   Watch

A closed order pipe means that the daemon is gone: the sampler ends. The sampler never waits for the daemon: what the
pipe does not take is dropped, readings first, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from telemetryd.pipe_frames import Cutter, framed
from telemetryd.sampling.limits import FRAME_MAX_BYTES

HOST = "host"
"""The scope of a reading about the whole machine. A GPU's is "gpu:UUID", a run's "run:N"."""


class _Frame(msgspec.Struct, tag_field="k", omit_defaults=True):
    pass


class Device(msgspec.Struct, omit_defaults=True):
    """A GPU, or an instance of one in MIG mode (`parent` is then the card's UUID, `index` the card's).

    `index` is NVML's, which is the order of PCI addresses. `speed` orders unlike cards as CUDA does: cores times their
    highest clock, 0 where it is not told. `absent` are the metrics of the catalogue that it does not support.
    """

    uuid: str
    index: int
    name: str = ""
    pci: str = ""
    memory_bytes: int = 0
    speed: int = 0
    mig: bool = False
    """The card is in MIG mode: CUDA sees its instances."""
    parent: str | None = None
    gpu_instance: int | None = None
    compute_instance: int | None = None
    absent: list[str] = []


class Devices(_Frame, tag="devices"):
    """The GPUs that there are now; replaces what was said before. `driver` is its version, None where there is none."""

    devices: list[Device] = []
    driver: str | None = None
    cuda: str | None = None


class Reading(_Frame, tag="reading"):
    """Values of one moment and scope, by their name in the catalogue: "gpu_power_watts", "disk_free_bytes[/data]".

    `families` are those of which everything is in here; without one it holds only the metrics of the 1 Hz ring. What
    cannot be told is absent.
    """

    time_ns: int
    scope: str
    values: dict[str, float]
    families: list[str] = []


class Event(_Frame, tag="event"):
    """Something that happened to a GPU (`uuid` None: to all). `code` is an XID's number, `advice` says what to do."""

    time_ns: int
    kind: str
    message: str
    uuid: str | None = None
    code: int | None = None
    advice: str = ""
    fatal: bool = False
    """The work on this GPU is lost."""
    gpu_instance: int | None = None


class Condition(_Frame, tag="condition"):
    """How a part of the sampler is, when that changes: `reason` None is well. `wanting` False: nothing is amiss, there
    is only nothing to sample (no driver)."""

    part: str
    reason: str | None = None
    wanting: bool = True


class Beat(_Frame, tag="beat"):
    """The sampler lives. `dropped` counts readings that the pipe did not take, since it began."""

    dropped: int = 0


class Process(msgspec.Struct, omit_defaults=True):
    """A training process as the daemon sees it in its own process namespace. `rank` where the job has ranks."""

    pid: int
    start_ticks: int
    rank: int | None = None
    local_rank: int | None = None


class Target(msgspec.Struct, omit_defaults=True):
    """A run to watch: its processes, the GPUs that CUDA shows them, and the paths whose space matters to it."""

    run: int
    processes: list[Process] = []
    visible: str | None = None
    """CUDA_VISIBLE_DEVICES of the training process, None where it is not set."""
    order: str | None = None
    """CUDA_DEVICE_ORDER."""
    paths: list[str] = []
    tree: bool = False
    """What wandb tells of the main process is to be told of the whole tree (x_stats_track_process_tree)."""


class Watch(_Frame, tag="watch"):
    """What is to be sampled from now on. `all_gpus`: also those that no run uses. `paths`: of no run in particular."""

    targets: list[Target] = []
    all_gpus: bool = False
    paths: list[str] = []


Report = Devices | Reading | Event | Condition | Beat
Order = Watch

_encoder = msgspec.msgpack.Encoder()
_reports = msgspec.msgpack.Decoder(Report)
_orders = msgspec.msgpack.Decoder(Order)


def pack(frame: Report | Order) -> bytes:
    """A frame as it goes through the pipe."""
    return framed(_encoder.encode(frame))


class Unpacker:
    """Cuts what a pipe brings, in pieces of any size, into frames. One Unpacker per pipe."""

    def __init__(self) -> None:
        self._cutter = Cutter("the sampler's pipe", FRAME_MAX_BYTES)

    def reports(self, data: bytes) -> Iterator[Report]:
        """Frames from the sampler. Raises ValueError on bytes that are none."""
        for body in self._cutter.bodies(data):
            yield _reports.decode(body)

    def orders(self, data: bytes) -> Iterator[Order]:
        """Frames from the daemon. Raises ValueError on bytes that are none."""
        for body in self._cutter.bodies(data):
            yield _orders.decode(body)
