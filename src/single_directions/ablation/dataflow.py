"""Which part of a traced network no clamp can reach: it is run once, however many points are measured."""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from single_directions.ablation.operations import Linear, Operation, folded, recognise
from single_directions.ablation.sites import SitedNetwork
from single_directions.ablation.trace import out_of_place

_CACHE = 6 * 2**20
"""On a CPU, bytes of the largest tensor: small enough for its cache, large enough to keep it busy."""


class Dataflow:
    """The nodes of a traced network, divided by its sites.

    A node is *fixed* if its own operation reads nothing that a clamp changes. If it is a site, the rest of the network
    may still see it clamped. All other nodes *vary*. A node is *steady* if it is fixed and no site.

    Attributes:
        needed: the nodes that the output depends on, in the order in which they run.
        fixed: those of them that are fixed.
        site_of: the number of the site at a node.
        seen: of each node, the shape of its value and what it costs (see `places.Seen`).
        last_use: the last needed node that reads a node.
        output: the node that gives the logits.
    """

    def __init__(self, network: SitedNetwork) -> None:
        if network.graph is None:
            raise ValueError("the network has no graph")
        self.network, self.seen, graph = network.network, network.seen, network.graph
        self.site_of = {node: number for number, node in enumerate(network.nodes)}
        (end,) = (node for node in graph.nodes if node.op == "output")
        self.output: fx.Node = end.args[0]
        self.needed = ancestors([self.output])
        self.fixed: set[fx.Node] = set()
        for node in self.needed:
            if all(self.is_steady(source) for source in node.all_input_nodes):
                self.fixed.add(node)
        self.last_use = {source: node for node in self.needed for source in node.all_input_nodes}
        self.input = next(node for node in graph.nodes if node.op == "placeholder")
        self._interpreter = fx.Interpreter(self.network, graph=graph)

    def is_steady(self, node: fx.Node) -> bool:
        """Whether the rest of the network sees the same value of a node at every point."""
        return node in self.fixed and node not in self.site_of

    @cached_property
    def operations(self) -> dict[fx.Node, Operation]:
        """What each node that is not steady does. A batch norm that alone reads a layer is that layer, with both."""
        modules, shapes = dict(self.network.named_modules()), {node: seen.shape for node, seen in self.seen.items()}
        found: dict[fx.Node, Operation] = {}
        self.folded: dict[fx.Node, fx.Node] = {}
        for node in self.varying:
            found[node] = recognise(node, modules, shapes)
            source = next(iter(node.all_input_nodes), node)
            layer = folded(found[node], source, found.get(source), self.site_of)
            if layer is not None:
                found[node], self.folded[node] = layer, source
        return found

    @cached_property
    def instead(self) -> dict[fx.Node, Callable[[Tensor], Tensor]]:
        """What to run instead of a node: a layer gives what it and its batch norm give together, the norm nothing new.

        Folding costs as much as a pass, so it is done when it is first used, with the weights of then.
        """
        operations, found = self.operations, dict[fx.Node, Callable[[Tensor], Tensor]]()
        for norm, layer in self.folded.items():
            found |= {layer: cast(Linear, operations[norm]), norm: nn.Identity()}
        return found

    @property
    def varying(self) -> list[fx.Node]:
        """The needed nodes that are not steady."""
        return [node for node in self.needed if not self.is_steady(node)]

    def images_at_once(
        self, nodes: Iterable[fx.Node], device: torch.device, memory_budget: int, copies: int = 1
    ) -> int:
        """How many images to work on at once, if `copies` of the values of some nodes are held."""
        sizes = [self.seen[node].row for node in nodes]
        most = memory_budget // max(1, copies * sum(sizes))
        if device.type != "cuda":
            most = min(most, _CACHE // max(sizes, default=1))
        return max(2, most)  # see `portions`

    def one_row_an_image(self, nodes: Iterable[fx.Node], inputs: Tensor) -> bool:
        """Whether the values of some nodes follow the number of images, for two such numbers.

        Whole numbers must also be the same for two copies of an image. Indices of images are not.
        """
        nodes = list(nodes)
        if not all(self.seen[node].one_row_an_image for node in nodes):
            return False
        values = self.run(ancestors(nodes), torch.cat([inputs[:1]] * 2), nodes).values()
        return all(len(value) == 2 and (value.is_floating_point() or value[0].equal(value[1])) for value in values)

    def run(self, nodes: Iterable[fx.Node], inputs: Tensor, keep: Iterable[fx.Node]) -> dict[fx.Node, Any]:
        """Run `nodes`, in order, with nothing clamped, and return the values of those to `keep`."""
        kept = set(keep)
        nodes = list(nodes)
        last_use = {source: node for node in nodes for source in node.all_input_nodes}
        values: dict[fx.Node, Any] = {}
        with out_of_place(self.network):
            for node in nodes:
                values[node] = inputs if node is self.input else self.run_node(node, values)
                for source in node.all_input_nodes:
                    if last_use[source] is node and source not in kept:
                        values.pop(source, None)
        return {node: values[node] for node in kept}

    def run_in_portions(
        self, keep: list[fx.Node], inputs: Tensor, images_at_once: int, joined: set[fx.Node]
    ) -> dict[fx.Node, Any]:
        """The values of the nodes to `keep`: of those in `joined` for all images, of others for the first portion."""
        needed = ancestors(keep)
        parts = [self.run(needed, some, keep) for some in portions(inputs, images_at_once)]
        return {
            node: torch.cat([part[node] for part in parts]) if len(parts) > 1 and node in joined else value
            for node, value in parts[0].items()
        }

    def apply(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        """Run one node on the values of the nodes that it reads, none of which it overwrites."""
        if node.op != "call_module":
            return self.run_node(node, values)
        with out_of_place(self.network.get_submodule(str(node.target))):
            return self.run_node(node, values)

    def run_node(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        """As `apply`, for a caller that has switched modules to work out of place."""
        if node.op == "placeholder":  # an argument of `forward` behind the inputs: its default
            return node.args[0]
        args = fx.node.map_arg(node.args, values.__getitem__)
        kwargs = fx.node.map_arg(node.kwargs, values.__getitem__)
        return getattr(self._interpreter, node.op)(node.target, args, kwargs)


def portions(rows: Tensor, size: int) -> list[Tensor]:
    """Portions of `size` rows; a single row that is left belongs to the one before.

    A network need not take one image alone: with it `squeeze` removes the dimension of images.
    """
    whole, left = divmod(len(rows), size)
    sizes = [size] * whole + [left] * (left > 0)
    if left == 1 and whole:
        sizes[-2:] = [size + 1]
    return list(rows.split(sizes))


def ancestors(nodes: Iterable[fx.Node]) -> list[fx.Node]:
    """All nodes that some nodes depend on, themselves included, in the order in which they run."""
    nodes = list(nodes)
    found = set(nodes)
    waiting = list(nodes)
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source not in found:
                found.add(source)
                waiting.append(source)
    return [node for node in nodes[0].graph.nodes if node in found] if nodes else []
