"""Checks a fast method against the definition while it runs."""

from collections.abc import Iterator

import torch
from torch import Tensor

from single_directions.ablation.reference import Reference
from single_directions.ablation.sites import SitedNetwork

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
_TOLERANCE_OF_FEWER_BITS = 6e-2


class Verification:
    """Recomputes random (ordering, point) pairs by the reference and compares logits, on every image.

    Logits may differ by rounding: 1e-4 of the largest logit in float32 (a hundred times what is seen), 1e-9 in float64,
    6e-2 where the network works in bfloat16, float16 or TF32. Equal logits give equal counts but for ties.
    """

    def __init__(self, network: SitedNetwork, values: Tensor, orderings: Tensor, ablated: Tensor, pairs: int) -> None:
        self.reference, self.orderings, self.ablated = Reference(network, values), orderings, ablated.tolist()
        total = len(orderings) * len(ablated)
        drawn = torch.randperm(total, generator=torch.Generator().manual_seed(0))[:pairs].tolist()
        self.pairs = {divmod(number, len(ablated)) for number in drawn}
        fewer_bits = torch.is_autocast_enabled(values.device.type) or (
            values.is_cuda and torch.get_float32_matmul_precision() != "highest"
        )
        self.tolerance = (
            _TOLERANCE_OF_FEWER_BITS if fewer_bits else _TOLERANCE.get(values.dtype, _TOLERANCE_OF_FEWER_BITS)
        )

    def watch(
        self, stream: Iterator[tuple[int, Tensor]], inputs: Tensor, ordering: int
    ) -> Iterator[tuple[int, Tensor]]:
        """Pass on the (point, logits) of an ordering, comparing those that were drawn.

        Raises:
            RuntimeError: logits differ by more than rounding.
        """
        for point, logits in stream:
            if (ordering, point) in self.pairs:
                self._compare(inputs, ordering, point, logits)
            yield point, logits

    def _compare(self, inputs: Tensor, ordering: int, point: int, logits: Tensor) -> None:
        self.reference.start(inputs)
        count = self.ablated[point]
        ((_, expected),) = self.reference.cumulative(self.orderings[ordering], [count])
        difference = float((logits - expected).abs().max() / expected.abs().max().clamp_min(1e-6))
        if not difference <= self.tolerance:
            raise RuntimeError(
                f"verification failed: ordering {ordering} with {count} units ablated differs from the reference by "
                f"{difference:.1e} of the largest logit (rounding explains {self.tolerance:.0e}); "
                'use method="reference" and report this network'
            )
