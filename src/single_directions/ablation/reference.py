"""The definition: one forward pass of the whole network for each set of clamped units. Slow, and obviously right."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from single_directions.ablation.sites import SitedNetwork


class Reference:
    """Every point anew. Takes any network, traced or not."""

    name = "reference"
    images_at_once: int | None = None

    def __init__(self, network: SitedNetwork, values: Tensor) -> None:
        self.network, self.values = network, values

    def start(self, inputs: Tensor) -> None:
        """As `Method.start`."""
        self.inputs = inputs

    def cumulative(self, ordering: Tensor, ablated: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """As `Method.cumulative`."""
        for point, count in enumerate(ablated):
            mask = torch.zeros(self.network.units, dtype=torch.bool)
            mask[ordering[:count]] = True
            yield point, self._logits(mask)

    def single(self, units: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """As `Method.single`."""
        for unit in units:
            mask = torch.zeros(self.network.units, dtype=torch.bool)
            mask[unit] = True
            yield unit, self._logits(mask)

    def _logits(self, mask: Tensor) -> Tensor:
        return self.network.clamped(self.inputs, mask.to(self.values.device), self.values)
