"""Checks a fast method against the definition while it runs."""

from collections.abc import Iterator

import torch
from torch import Tensor

from single_directions.ablation.reference import Reference
from single_directions.ablation.sites import SitedNetwork

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
_TOLERANCE_OF_FEWER_BITS = 6e-2
_TIMES_ITS_OWN_ERROR = 4


class Verification:
    """Recomputes random (ordering, point) pairs by the reference and compares logits, on every image.

    Logits may differ by rounding: 1e-4 of the largest logit in float32 (a hundred times what is seen), 1e-9 in float64,
    6e-2 in bfloat16, float16 or TF32. If they differ by more, a copy of the network in float64 shows how much of it is
    rounding. The method may then err four times as much as the reference, but by 6e-2 at most.
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
        scale = expected.abs().max().clamp_min(1e-6)

        def distance(one: Tensor, other: Tensor) -> float:
            return float((one - other).abs().max() / scale)

        difference = distance(logits, expected)
        if difference <= self.tolerance:
            return
        exact = self._in_float64(inputs, ordering, count)
        rounding = 0.0 if exact is None else distance(expected, exact)
        allowed = max(self.tolerance, min(_TIMES_ITS_OWN_ERROR * rounding, _TOLERANCE_OF_FEWER_BITS))
        if exact is None or not distance(logits, exact) <= allowed:
            raise RuntimeError(
                f"verification failed: ordering {ordering} with {count} units ablated differs from the reference by "
                f"{difference:.1e} of the largest logit (rounding explains {allowed:.0e}); "
                'use method="reference" and report this network'
            )

    def _in_float64(self, inputs: Tensor, ordering: int, count: int) -> Tensor | None:
        """The logits by a copy of the network in float64; ``None`` if there can be no such copy."""
        if inputs.dtype == torch.float64 or not inputs.is_floating_point():
            return None
        clamped = (self.orderings[ordering].argsort() < count).to(inputs.device)
        values = self.reference.values.double()
        try:
            with torch.autocast(inputs.device.type, enabled=False):
                return self.reference.network.in_float64().clamped(inputs.double(), clamped, values)
        except Exception:  # no such type on the device, or a dtype written down in somebody's forward()
            return None
