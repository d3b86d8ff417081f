"""What is compared: each peer takes the same calls. A further peer is a class in a module here and a line in PEERS.

A peer lives in a process of its own, so neither its threads nor its imports weigh on another's numbers, and unless it
is ours or wandb in an environment of its own (see ../environments.py). This package therefore imports nothing heavy,
and a tracker only where it is opened.
"""

from __future__ import annotations

from tests.bench.peers.base import Peer

PEERS = {
    "noop": "baseline:NoOp",
    "encode": "baseline:Encode",
    "client": "telemetry:Client",
    "wandb": "weights:Wandb",
    "neptune": "neptune:Neptune",
    "mlflow": "mlflow:MLflow",
    "trackio": "trackio:Trackio",
    "tensorboard": "tensorboard:TensorBoard",
    "swanlab": "swanlab:SwanLab",
}
"""Name → module of this package and class."""


def load(name: str) -> type[Peer]:
    """The class of a peer. Raises KeyError for a name that is none."""
    from importlib import import_module

    module, _, kind = PEERS[name].partition(":")
    found: type[Peer] = getattr(import_module(f"{__name__}.{module}"), kind)
    return found
