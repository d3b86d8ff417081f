"""The layers of a torch model, as `watch(log_graph=True)` logs them: gathered by hooks during the first forward pass.

Layers within Sequential, ModuleList and ModuleDict are listed one by one, any other module is one node. Each hook takes
itself out of the list when its module has run; the graph is complete when all have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from client import guard, histograms

_CONTAINERS = ("Sequential", "ModuleList", "ModuleDict")


class ModelGraph:
    """`complete(nodes)` is called once, on the training thread, with wandb's attributes of each node."""

    def __init__(self, complete: Callable[[list[dict[str, Any]]], None]) -> None:
        self._complete = complete
        self._waiting: set[int] = set()
        self._nodes: list[dict[str, Any]] = []

    def hook(self, module: Any, prefix: str = "", parent: Any = None) -> Iterator[tuple[str, Any, Any]]:
        """Hook the layers; yields (name of the hook, module it is noted at, handle). ValueError when called twice."""
        if getattr(module, "_wandb_watch_called", False):
            raise ValueError(
                "You can only call `wandb.watch` once per model.  Pass a new instance of the model if you need to call"
                " wandb.watch again in your code."
            )
        module._wandb_watch_called = True
        torch = histograms.torch()
        containers = tuple(getattr(torch.nn, name) for name in _CONTAINERS)
        for index, (own, layer) in enumerate(module.named_children()):
            name = f"{prefix}.{own or index}" if prefix else (own or str(index))
            if isinstance(layer, containers):
                yield from self.hook(layer, name, parent or module)
            else:
                self._waiting.add(id(layer))
                handle = layer.register_forward_hook(self._after_forward(name))
                yield f"topology/{id(handle)}", parent or module, handle

    def _after_forward(self, name: str) -> Callable[[Any, Any, Any], None]:
        def after_forward(module: Any, inputs: Any, output: Any) -> None:
            if id(module) not in self._waiting:
                return
            try:
                self._nodes.append(_node(name, module, output if isinstance(output, tuple) else (output,)))
                self._waiting.discard(id(module))
                if not self._waiting:
                    self._complete(self._nodes)
            except Exception as error:  # noqa: BLE001 - a hook that raises ends the training step
                self._waiting.discard(id(module))
                guard.swallow("watch.graph", error)

        return after_forward


def _node(name: str, module: Any, output: tuple[Any, ...]) -> dict[str, Any]:
    parameters = [(own, list(parameter.size())) for own, parameter in module.named_parameters()]
    return {
        "name": name,
        "id": id(module),
        "class_name": str(module),
        "parameters": parameters,
        "output_shape": _shape(output),
        "num_parameters": [math.prod(size) for _, size in parameters],
    }


def _shape(value: Any, depth: int = 0) -> list[Any]:
    """The sizes of tensors, also those within lists and tuples."""
    if hasattr(value, "size"):
        return list(value.size())
    if hasattr(value, "shape"):
        return list(value.shape)
    if not isinstance(value, (list, tuple)) or depth > 16:
        return []
    return [_shape(item, depth + 1) for item in value]
