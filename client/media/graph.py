"""`Graph`: a network of layers, built by hand or from a Keras model (before Keras 3), as far as wandb still has it."""

from __future__ import annotations

from typing import Any

from client.media.base import Media, WBValue

_ATTRIBUTES = (
    "id", "name", "class_name", "size", "parameters", "output_shape", "is_output", "num_parameters"
)  # fmt: skip


class Node(WBValue):
    """A layer. Its attributes are wandb's: id, name, class_name, size, parameters, output_shape, num_parameters …"""

    def __init__(
        self,
        id: Any = None,
        name: str | None = None,
        class_name: str | None = None,
        size: Any = None,
        parameters: Any = None,
        output_shape: Any = None,
        is_output: bool | None = None,
        num_parameters: int | None = None,
        node: Node | None = None,
    ) -> None:
        attributes: dict[str, Any] = {"name": None}
        if node is not None:
            attributes.update(node._attributes)
            del attributes["id"]
        given = (id, name, class_name, size, parameters, output_shape, is_output, num_parameters)
        for key, value in zip(_ATTRIBUTES, given, strict=True):
            if value is not None:
                attributes[key] = tuple(value) if key == "size" else value
        self.__dict__["_attributes"] = attributes

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._attributes.get(name, [] if name in ("functions", "parameters") else None)

    def __setattr__(self, name: str, value: Any) -> None:
        self._attributes[name] = tuple(value) if name == "size" else value

    def __repr__(self) -> str:
        return repr(self._attributes)

    @classmethod
    def from_keras(cls, layer: Any) -> Node:
        """The node of a Keras layer."""
        return cls(
            id=layer.name,
            name=layer.name,
            class_name=type(layer).__name__,
            output_shape=getattr(layer, "output_shape", ["multiple"]),
            num_parameters=layer.count_params(),
        )


class Edge(WBValue):
    """From one node to another."""

    def __init__(self, from_node: Node, to_node: Node) -> None:
        self.from_node = from_node
        self.to_node = to_node


class Graph(Media):
    """Nodes and edges: `graph.add_node(id=…)`, `graph.add_edge(a, b)`. What it holds when it is logged is stored."""

    _log_type = "graph-file"

    def __init__(self, format: str = "keras") -> None:
        self.format = format
        self.nodes: list[Node] = []
        self.nodes_by_id: dict[Any, Node] = {}
        self.edges: list[Edge] = []
        self.root: Node | None = None

    def __getitem__(self, nid: Any) -> Node:
        return self.nodes_by_id[nid]

    def add_node(self, node: Node | None = None, **node_kwargs: Any) -> Node:
        """Add a node, or one of these attributes. Raises ValueError when both are given."""
        if node is None:
            node = Node(**node_kwargs)
        elif node_kwargs:
            raise ValueError(f"Only pass one of either node ({node}) or other keyword arguments ({node_kwargs})")
        self.nodes.append(node)
        self.nodes_by_id[node.id] = node
        return node

    def add_edge(self, from_node: Node, to_node: Node) -> Edge:
        """Connect two nodes."""
        edge = Edge(from_node, to_node)
        self.edges.append(edge)
        return edge

    @classmethod
    def from_keras(cls, model: Any) -> Graph:
        """The layers of a Keras model (before Keras 3) and what leads to each, as wandb reads them."""
        graph = cls()
        relevant = None if _is_sequential(model) else [node for at in model._nodes_by_depth.values() for node in at]
        for layer in model.layers:
            node = Node.from_keras(layer)
            for inbound in getattr(layer, "_inbound_nodes", ()):
                if relevant and inbound not in relevant:
                    continue  # of another network that shares the layer
                for source in _listed(inbound.inbound_layers):
                    before = Node.from_keras(source)
                    if before.id not in graph.nodes_by_id:
                        graph.add_node(before)
                    graph.add_edge(graph.nodes_by_id[before.id], node)
            graph.add_node(node)
        return graph

    def _wire(self) -> tuple[str, dict[str, Any]]:
        return "Graph", {
            "format": self.format,
            "nodes": [node._attributes for node in self.nodes],
            "edges": [[edge.from_node.id, edge.to_node.id] for edge in self.edges],
        }


def _is_sequential(model: Any) -> bool:
    if type(model).__name__ == "Sequential" or not getattr(model, "_is_graph_network", False):
        return True
    nodes: list[Any] = []
    for at in model._nodes_by_depth.values():
        if len(at) > 1 or len(_listed(at[0].inbound_layers)) > 1:
            return False
        nodes += at
    return all(sum(node in nodes for node in getattr(layer, "_inbound_nodes", ())) <= 1 for layer in model.layers)


def _listed(layers: Any) -> list[Any]:
    return list(layers) if isinstance(layers, (list, tuple)) else [layers]
