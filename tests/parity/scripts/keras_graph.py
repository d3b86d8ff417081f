"""Graphs of Keras models, played: wandb reads the layers' names, shapes and links, and nothing of Keras itself."""

import wandb


class Link:
    def __init__(self, layer):
        self.inbound_layers = layer  # wandb asks tensorflow to take lists apart


class Dense:
    def __init__(self, name, parameters, before=None):
        self.name = name
        self.parameters = parameters
        self.output_shape = (None, parameters)
        self._inbound_nodes = [Link(before)] if before else []

    def count_params(self):
        return self.parameters


class Sequential:
    def __init__(self, layers):
        self.layers = layers


class Functional(Sequential):
    _is_graph_network = True

    def __init__(self, layers):
        super().__init__(layers)
        self._nodes_by_depth = {
            depth: layer._inbound_nodes for depth, layer in enumerate(layers) if layer._inbound_nodes
        }


def layers(shared=False):
    first = Dense("first", 4)
    left, right = Dense("left", 8, first), Dense("right", 16, first)
    if shared:
        right._inbound_nodes.append(Link(left))
    return [first, left, right, Dense("last", 2, right)]


with wandb.init(project="p", id="parity") as run:
    run.log({"chain": wandb.Graph.from_keras(Sequential(layers()[:2]))})
    run.log({"branches": wandb.Graph.from_keras(Functional(layers()))})
    run.log({"shared": wandb.Graph.from_keras(Functional(layers(shared=True)))})
    run.log({"line": wandb.Graph.from_keras(Functional(layers()[:2]))})
    stray = layers()
    stray[1]._inbound_nodes.append(Link(Dense("of another network", 1)))
    model = Functional(stray)
    model._nodes_by_depth[1] = stray[1]._inbound_nodes[:1]
    run.log({"stray": wandb.Graph.from_keras(model)})
