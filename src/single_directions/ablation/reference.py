"""The definition: one forward pass of the whole network for each set of clamped units. Slow and simple."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from single_directions.ablation.sites import SitedNetwork


class Reference:
    """A forward pass of the whole network for each point. Takes any network, traced or not."""

    name = "reference"
    images_at_once: int | None = None

    def __init__(self, network: SitedNetwork, values: Tensor) -> None:
        self.network, self.values = network, values

    def start(self, inputs: Tensor) -> None:
        """As `Method.start`. One image is run twice: a network need not take it alone, as with `squeeze`."""
        self.images = len(inputs)
        self.inputs = torch.cat([inputs] * 2) if len(inputs) == 1 and not self.network.mixes else inputs

    def cumulative(self, ordering: Tensor, ablated: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """As `Method.cumulative`."""
        clamped_at = ordering.argsort().to(self.values.device, non_blocking=True)
        for point, count in enumerate(ablated):
            yield point, self._logits(clamped_at < count)

    def single(self, units: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """As `Method.single`."""
        every = torch.arange(self.network.units, device=self.values.device)
        for unit in units:
            yield unit, self._logits(every == unit)

    def _logits(self, mask: Tensor) -> Tensor:
        return self.network.clamped(self.inputs, mask, self.values)[: self.images]
