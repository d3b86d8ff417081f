"""A torch tensor's histogram as `wandb.watch` makes it: 64 bins from minimum to maximum, without NaN and infinities.

All of it is torch's own arithmetic on a copy, so counts and edges are those of wandb to the last bit.
"""

from __future__ import annotations

import sys
from typing import Any

BINS = 64


def torch() -> Any:
    """torch, where the program has imported it."""
    return sys.modules.get("torch")


def size_bytes(tensor: Any) -> int:
    """The bytes that a copy of the tensor takes."""
    if tensor.is_sparse:
        tensor = tensor._values()
    return int(tensor.numel() * tensor.element_size())


class Copy:
    """A tensor as it was: copied where it lies. On a device the copy is queued behind what computes the tensor."""

    def __init__(self, tensor: Any) -> None:
        self.size = size_bytes(tensor)
        self.tensor = tensor.detach().clone()
        self._event: Any = None
        if tensor.is_cuda:
            self._event = torch().cuda.Event()
            self._event.record(torch().cuda.current_stream(tensor.device))

    def on_own_stream(self, compute: Any) -> Any:
        """`compute(tensor)`, on a stream of the calling thread where the tensor lies on a CUDA device."""
        if self._event is None:
            return compute(self.tensor)
        cuda = torch().cuda
        stream = cuda.Stream(self.tensor.device)
        with cuda.device(self.tensor.device), cuda.stream(stream):
            stream.wait_event(self._event)
            found = compute(self.tensor)
            self.tensor.record_stream(stream)
        return found


def histogram(copy: Copy) -> dict[str, Any] | None:
    """What a row stores of it; None for a tensor without a finite value."""
    with torch().no_grad():
        found: dict[str, Any] | None = copy.on_own_stream(_histogram)
        return found


def _histogram(tensor: Any) -> dict[str, Any] | None:
    module = torch()
    zeros = 0
    if tensor.is_sparse:
        tensor = tensor.cpu().coalesce()
        values = tensor._values()
        zeros = tensor.numel() - values.numel()
        tensor = values
    flat = tensor.reshape(-1)
    if flat.dtype not in (module.float32, module.float64):
        flat = flat.float()
    finite = module.isfinite(flat)
    if not finite.any().item():
        return None
    if not finite.all().item():
        flat = flat[finite]
    low, high = flat.min().item(), flat.max().item()
    if zeros:
        low, high = min(low, 0), max(high, 0)
    if low == high:
        counts, edges = [float(flat.numel())], [low, high]
        edges = module.tensor(edges, dtype=module.float32, device="cpu").tolist()
    else:
        counts = flat.histc(bins=BINS, min=low, max=high).cpu().tolist()
        edges = module.linspace(low, high, steps=BINS + 1, dtype=module.get_default_dtype(), device="cpu").tolist()
    if zeros:
        counts[_bin_of_zero(edges)] += zeros
    return {"_type": "histogram", "values": counts, "bins": edges}


def _bin_of_zero(edges: list[float]) -> int:
    last = len(edges) - 2
    for index in range(last + 1):
        if edges[index] <= 0 < edges[index + 1] or (index == last and edges[index + 1] == 0):
            return index
    return 0
