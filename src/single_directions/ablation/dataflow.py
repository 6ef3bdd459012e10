"""Which part of a traced network no clamp can reach: it is run once, however many points are measured."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx

from single_directions.ablation.sites import SitedNetwork
from single_directions.ablation.trace import out_of_place

_CACHE = 6 * 2**20
"""On a CPU, bytes of the largest tensor: small enough for its cache, large enough to keep it busy."""


class Dataflow:
    """The nodes of a traced network, parted at its sites.

    A node is *fixed* if its own operation reads nothing that a clamp changes; what the rest of the network then sees of
    it may still be clamped, if it is a site. All other nodes *vary*.

    Attributes:
        needed: the nodes that the output depends on, in the order in which they run.
        fixed: those of them that are fixed.
        site_of: the number of the site at a node.
        output: the node that gives the logits.
    """

    def __init__(self, network: SitedNetwork) -> None:
        if network.graph is None:
            raise ValueError("the network has no graph")
        self.network, graph = network.network, network.graph
        self.site_of = {node: number for number, node in enumerate(network.nodes)}
        (end,) = (node for node in graph.nodes if node.op == "output")
        self.output: fx.Node = end.args[0]
        self.needed = ancestors([self.output])
        self.fixed: set[fx.Node] = set()
        for node in self.needed:
            if all(self.is_steady(source) for source in node.all_input_nodes):
                self.fixed.add(node)
        self.input = next(node for node in graph.nodes if node.op == "placeholder")
        self._interpreter = fx.Interpreter(self.network, graph=graph)

    def is_steady(self, node: fx.Node) -> bool:
        """Whether what the rest of the network sees of a node is the same at every point."""
        return node in self.fixed and node not in self.site_of

    def run(self, nodes: Iterable[fx.Node], inputs: Tensor, keep: Iterable[fx.Node]) -> dict[fx.Node, Any]:
        """Run `nodes`, in order, with nothing clamped, and return the values of those to `keep`."""
        kept = set(keep)
        nodes = list(nodes)
        last_use = {source: node for node in nodes for source in node.all_input_nodes}
        values: dict[fx.Node, Any] = {}
        for node in nodes:
            values[node] = inputs if node is self.input else self.apply(node, values)
            for source in node.all_input_nodes:
                if last_use[source] is node and source not in kept:
                    values.pop(source, None)
        return {node: values[node] for node in kept}

    def apply(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        """Run one node on the values of the nodes that it reads, none of which it overwrites."""
        if node.op == "placeholder":  # an argument of `forward` behind the inputs: its default
            return node.args[0]
        args = fx.node.map_arg(node.args, values.__getitem__)
        kwargs = fx.node.map_arg(node.kwargs, values.__getitem__)
        run = getattr(self._interpreter, node.op)
        if node.op != "call_module":
            return run(node.target, args, kwargs)
        with out_of_place(self.network.get_submodule(str(node.target))):
            return run(node.target, args, kwargs)


def images_at_once(values: Iterable[Any], copies: int, device: torch.device, memory_budget: int) -> int:
    """How many images to work on at once: as many as fit into memory, where `copies` of some values are held."""
    sizes = [value[0].nbytes for value in values if isinstance(value, Tensor) and value.dim() > 1]
    most = memory_budget // max(1, copies * sum(sizes))
    if device.type != "cuda":
        most = min(most, _CACHE // max(sizes, default=1))
    return max(1, most)


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
