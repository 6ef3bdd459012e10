"""Prefix cache: what lies before the first site is run once per batch, the rest once per point. For traced networks."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, fx

from single_directions.ablation.dataflow import Dataflow, ancestors
from single_directions.ablation.sites import SitedNetwork
from single_directions.ablation.trace import out_of_place


class Prefix:
    """The fixed part of the network once per batch; several points in one forward pass of the rest.

    Batch norm that follows a layer is folded into it. Points are stacked along the dimension of images, as many as the
    memory budget allows, so a small batch still fills the machine: `images_at_once` images times the outputs of all
    nodes that vary.
    """

    name = "prefix"

    def __init__(
        self, network: SitedNetwork, values: Tensor, inputs: Tensor, memory_budget: int, flow: Dataflow | None = None
    ) -> None:
        self.network, self.values = network, network.split(values)
        flow = self.flow = flow or Dataflow(network)
        self.border = [
            node
            for node in flow.needed
            if node in flow.fixed and (node in flow.site_of or any(user not in flow.fixed for user in node.users))
        ]
        # Only what has one row per image can be stacked; a parameter is shared, and a size is a size.
        self.stacked_nodes = {node for node in self.border if any(n.op == "placeholder" for n in ancestors([node]))}
        self.stackable = flow.one_row_an_image(self.stacked_nodes, inputs)
        self.images_at_once: int | None = flow.images_at_once(flow.varying, inputs.device, memory_budget)
        self.fixed_at_once = flow.images_at_once(filter(flow.is_steady, flow.needed), inputs.device, memory_budget)

    def start(self, inputs: Tensor) -> None:
        """Run the fixed part on images (images, ...), as many at once as it likes."""
        self.images = len(inputs)
        self.inputs = inputs
        at_once = self.fixed_at_once if self.stackable else self.images
        self.cache = self.flow.run_in_portions(self.border, inputs, at_once, self.stacked_nodes)
        self.stacked = max(1, (self.images_at_once or 1) // self.images) if self.stackable else 1

    def cumulative(self, ordering: Tensor, ablated: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """As `Method.cumulative`."""
        clamped_at = ordering.argsort().to(self.inputs.device, non_blocking=True)
        yield from self._run((point, clamped_at < count) for point, count in enumerate(ablated))

    def single(self, units: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """As `Method.single`."""
        every = torch.arange(self.network.units, device=self.inputs.device)
        yield from self._run((unit, every == unit) for unit in units)

    def _run(self, masks: Iterator[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor]]:
        while group := list(islice(masks, self.stacked)):
            keys, stacked = zip(*group, strict=True)
            yield from zip(keys, self.logits(torch.stack(stacked)), strict=True)

    def logits(self, masks: Tensor) -> Tensor:
        """Logits (masks, images, classes) for masks (masks, units)."""
        flow, parts = self.flow, self.network.split(masks)
        values: dict[fx.Node, Any] = {}  # what the rest of the network sees of a node
        with out_of_place(flow.network):
            for node in flow.needed:
                if node in self.cache:
                    value = self.cache[node]
                    if node in self.stacked_nodes and len(masks) > 1:
                        value = value.repeat(len(masks), *[1] * (value.dim() - 1))
                elif node in flow.fixed:
                    continue
                elif node in flow.instead:
                    value = flow.instead[node](values[node.all_input_nodes[0]])
                else:
                    value = flow.run_node(node, values)
                number = flow.site_of.get(node)
                if number is not None:
                    mask = parts[number]
                    rows = mask if len(mask) == 1 else mask.repeat_interleave(len(value) // len(mask), dim=0)
                    value = self.network.sites[number].clamp(value, rows, self.values[number])
                values[node] = value
                for source in node.all_input_nodes:
                    if flow.last_use[source] is node:
                        values.pop(source, None)
        logits: Tensor = values[flow.output]
        return logits.unflatten(0, (len(masks), self.images))
